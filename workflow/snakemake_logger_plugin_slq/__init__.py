"""The screen of a call of Snakemake, as its logger plugin `slq`, which profiles/default/profile.yaml names.

It imports nothing of the package `slq`: Snakemake loads it before the Snakefile says which checkout's package is used.
"""

from snakemake_logger_plugin_slq.handler import LogHandler as LogHandler
from snakemake_logger_plugin_slq.handler import LogHandlerSettings as LogHandlerSettings
