# All rules that make results, with `cells: complete`, in the order of the stages.


include: "sources.smk"
include: "data.smk"
include: "backbones.smk"
include: "train.smk"
include: "evaluate.smk"
include: "baselines.smk"
include: "pilot.smk"
