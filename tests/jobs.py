"""The jobs of Snakemake's graph as JSON: python jobs.py <preset> <target>..., in a copy of the repository.

This is a separate script because reading a Snakefile changes the environment and the path of its process.
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
        call.dag(DAGSettings(targets=set(targets))).printd3dag()  # builds the graph; its output does not name files
        jobs = [
            {"rule": job.rule.name, "input": [*job.input], "output": [*job.output], "call": job.params.get("job", [])}
            for job in call._workflow.dag.jobs
        ]
    print(json.dumps(jobs))
