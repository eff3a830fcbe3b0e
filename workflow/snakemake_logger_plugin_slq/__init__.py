"""Snakemake logger plugin `slq`, which formats the terminal output; profiles/default/profile.yaml selects it.

It imports nothing from the package `slq`, because Snakemake loads the plugin before the Snakefile puts the checkout's
own package on the path.
"""

from snakemake_logger_plugin_slq.handler import LogHandler as LogHandler
from snakemake_logger_plugin_slq.handler import LogHandlerSettings as LogHandlerSettings
