"""What a reply says once it has thought: lmms-eval takes reasoning out of every reply before a scorer sees it."""

TAGS = (("<think>", "</think>"), ("<analysis>", "</analysis>"))  # the default of its --reasoning_tags, in this order


def without_reasoning(reply: str) -> str:
    """The reply without its tagged reasoning, and without blanks around what is left.

    Of each pair of tags in turn: the first opening tag goes with all up to the next closing one, as often as there is
    such a pair. A closing tag that is then left without any opening one drops all before the last of them: a template
    may have written the opening one into the prompt. An opening tag that nothing closes stays, and what follows it.

    Source: EvolvingLMMs-Lab/lmms-eval 75571cfe, lmms_eval/api/reasoning.py, called in lmms_eval/evaluator.py.
    """
    for opening, closing in TAGS:
        before, opened, inside = reply.partition(opening)
        while opened and closing in inside:
            reply = before + inside.partition(closing)[2]
            before, opened, inside = reply.partition(opening)
        if not opened:
            reply = reply.rpartition(closing)[2]
    return reply.strip()
