# The rules that make results, in the order of the stages; included with `cells: complete`.


include: "sources.smk"
include: "data.smk"
include: "backbones.smk"
include: "train.smk"
include: "evaluate.smk"
include: "baselines.smk"
include: "frontier.smk"
include: "pilot.smk"
