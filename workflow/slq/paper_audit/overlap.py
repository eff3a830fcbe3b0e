"""The test images of COCO in the training list that the released code names."""

from slq.data.ids import TESTS, id_list
from slq.paper_audit.paper import Asked, Paper

SET = "coco"
HELD_OUT = "coco_val2017"  # train2017 is every image of 2014's lists that is not in it


def of_train2017(paper: Paper) -> Asked:
    """How many test images train2017 holds, if the paper tests on COCO."""
    if not any(name == SET for name, _ in paper.benchmarks.rows) or not paper.table1:
        return Asked(0, 0, "The paper does not test on COCO.", ())
    tested, held_out = set(id_list(TESTS[SET])), set(id_list(HELD_OUT))
    shared, outside = len(tested - held_out), len(tested & held_out)
    statement = (
        f"train2017 holds {shared:,} of the {len(tested):,} test images of COCO ({100 * shared / len(tested):.1f} %). "
        "The released code trains on a list of that name; whether test images were taken out of it is not known."
    )
    line = (
        f"{len(tested):,} test images of Karpathy's split, {outside:,} of them among the {len(held_out):,} of val2017; "
        f"train2017 is the rest of the same images: {len(tested):,} less {outside:,} are {shared:,}"
    )
    return Asked(len(tested), shared, statement, (line,))
