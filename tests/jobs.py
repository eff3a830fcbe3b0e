"""The jobs of Snakemake's own graph, as JSON: python jobs.py <preset> <target>..., in a copy of the repository.

A call of its own, as reading a Snakefile changes the environment and the path of the process that does it.
"""

import contextlib
import json
import sys
from pathlib import Path

from snakemake.api import SnakemakeApi
from snakemake.settings.types import ConfigSettings, DAGSettings, ResourceSettings

if __name__ == "__main__":
    preset, *targets = sys.argv[1:]
    with SnakemakeApi() as api, contextlib.redirect_stdout(sys.stderr):
        call = api.workflow(
            resource_settings=ResourceSettings(cores=1),
            config_settings=ConfigSettings(config={"preset": preset}),
            snakefile=Path("Snakefile"),
        )
        call.dag(DAGSettings(targets=set(targets))).printd3dag()  # builds the graph; what it prints names no files
        jobs = [
            {"rule": job.rule.name, "input": [*job.input], "output": [*job.output], "call": job.params.get("job", [])}
            for job in call._workflow.dag.jobs
        ]
    print(json.dumps(jobs))
