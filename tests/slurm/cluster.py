"""A real Slurm of one node on loopback, whose GPUs are copies of the null device. Needs root and Debian's packages.

All files are in one folder, except two links in /etc/slurm, because the executor unsets SLURM_CONF in job steps.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from . import accounts

ETC = Path("/etc/slurm")
LOCK = "lock"  # file in a cluster's folder, locked by the process that started the cluster
PROGRAMS = ("munged", "slurmctld", "slurmd", "srun")
PATH = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/usr/bin"])
# Memory limits are not enforced without cgroups. A requeued job waits for cred_expire, 120 s by default.
# MinJobAge keeps ended jobs listed, so that a test can check all of them.
CONF = """
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={ctld}
SlurmdPort={slurmd}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/linux
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
ReturnToService=2
SlurmdTimeout=10
KillWait=5
MinJobAge=7200
SchedulerParameters=bf_interval=1,sched_interval=2
GresTypes=gpu
NodeName=localhost NodeAddr=127.0.0.1 NodeHostname=localhost CPUs={cpus} RealMemory=64000 Gres=gpu:h800:{gpus}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing(accounting: bool = False) -> str:
    """Return why Slurm cannot be started on this machine; empty if it can."""
    absent = [name for name in PROGRAMS + accounts.PROGRAMS * accounting if not shutil.which(name, path=PATH)]
    if absent:
        return f"{', '.join(absent)} not on PATH: packages slurm-wlm, munge; for accounts slurmdbd, mariadb-server"
    if os.geteuid():
        return "only root may start it"
    links = [ETC / name for name in ("slurm.conf", "gres.conf")]
    if any(link.exists() and not left_behind(link) for link in links):
        return f"{ETC} has a configuration: of a cluster of yours, or of a test that runs now"
    return ""


def left_behind(link: Path) -> bool:
    """Return whether a configuration is left from a killed test, whose lock no process holds any more."""
    lock = link.resolve().parent / LOCK
    if not (link.is_symlink() and lock.exists()):
        return False
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def wait_until(true: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Wait until a condition is true; fail if it is still false after `seconds`."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"after {seconds:g} s still not: {what}"
        time.sleep(0.1)


def free_ports(count: int) -> list[int]:
    """Find unused ports on loopback."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


FIELDS = ("JobID", "State", "StartTime", "EndTime", "tres-per-job", "MinMemory", "RestartCnt", "Comment")
WIDTH = 100  # characters of a field


@dataclass(frozen=True)
class Job:
    """A job as listed by Slurm: times in Slurm's format, requested memory, number of requeues, and the rule in the
    executor's comment."""

    id: str
    state: str
    start: str
    end: str
    wants: str
    memory: str
    restarts: str
    comment: str

    @property
    def gpus(self) -> int:
        """Number of GPUs, from a text such as `gres:gpu:1`."""
        return int(self.wants.rpartition(":")[2]) if "gpu" in self.wants else 0

    @property
    def ended(self) -> bool:
        return self.state not in ("PENDING", "RUNNING", "COMPLETING")


class Cluster:
    """A running cluster; its daemons are child processes, by name in the order of their start."""

    def __init__(self, folder: Path, gpus: int, cpus: int, accounting: bool) -> None:
        self.folder, self.accounting = folder, accounting
        self.daemons: dict[str, subprocess.Popen] = {}
        ctld, slurmd, dbd = free_ports(3)
        facts = {"folder": folder, "ctld": ctld, "slurmd": slurmd, "dbd": dbd, "gpus": gpus, "cpus": cpus}
        (folder / "slurm.conf").write_text((CONF + (accounts.BOOKED if accounting else accounts.NONE)).format(**facts))
        accounts.write_conf(folder, dbd)
        # Slurm counts a GPU only if its file is a separate character device.
        devices = [folder / f"gpu{number}" for number in range(gpus)]
        for device in devices:
            os.mknod(device, 0o666 | 0o020000, os.makedev(1, 3))
        lines = [f"NodeName=localhost Name=gpu Type=h800 File={device}" for device in devices]
        (folder / "gres.conf").write_text("\n".join(["AutoDetect=off", *lines, ""]))
        (folder / "key").touch(0o600)
        (folder / "key").write_bytes(os.urandom(1024))
        for name in ("state", "spool"):
            (folder / name).mkdir()

    def start(self, name: str, *command: str, **environment: str) -> None:
        """Start a daemon with its output in a log file."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self.daemons[name] = subprocess.Popen(
                [shutil.which(command[0], path=PATH), *command[1:]],
                env={**os.environ, "PATH": PATH, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def start_all(self) -> None:
        for name in ("slurm.conf", "gres.conf"):
            ETC.mkdir(exist_ok=True)
            (ETC / name).unlink(missing_ok=True)  # left from a killed test
            (ETC / name).symlink_to(self.folder / name)
        at = [f"--{what}={self.folder}/munge.{what}" for what in ("socket", "pid-file", "seed-file")]
        self.start("munged", "munged", "--foreground", f"--key-file={self.folder}/key", *at)
        wait_until((self.folder / "munge.socket").exists, "munged listens")
        if self.accounting:
            self.start_accounting()
        self.start_controller()
        self.start_node()

    def start_accounting(self) -> None:
        accounts.make_database(self.folder)
        self.start("mariadbd", *accounts.database(self.folder))
        wait_until(lambda: self.works(*accounts.client(self.folder, "select 1")), "mariadbd answers")
        self.ask(*accounts.client(self.folder, f"create database slurm; {accounts.USER}"))
        at = {"MYSQL_UNIX_PORT": str(accounts.socket(self.folder)), "SLURM_CONF": str(self.folder / "slurm.conf")}
        self.start("slurmdbd", "slurmdbd", "-D", **at)
        wait_until(lambda: self.works("sacctmgr", "-n", "list", "cluster"), "slurmdbd answers")
        self.ask("sacctmgr", "-i", "add", "cluster", "test")

    def start_controller(self) -> None:
        self.start("slurmctld", "slurmctld", "-D")
        wait_until(lambda: self.works("scontrol", "ping"), "slurmctld answers")

    def start_node(self) -> None:
        self.start("slurmd", "slurmd", "-D", "-N", "localhost")
        up = ("idle", "mixed", "allocated")
        wait_until(lambda: self.ask("sinfo", "-h", "-o", "%T").strip() in up, "slurmd answers")

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to a daemon, and wait until it has ended."""
        os.kill(self.daemons[name].pid, number)
        self.daemons.pop(name).wait(timeout=60)

    def kill_node(self) -> None:
        """Send SIGKILL to slurmd and to all processes of its jobs, as if the node had lost power."""
        running = [*processes_of_jobs()]
        self.kill("slurmd")
        for process in running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def stop(self) -> None:
        """End all jobs, then all daemons in reverse order of their start."""
        try:
            if {"slurmctld", "slurmd"} <= self.daemons.keys():
                self.ask("scancel", "-u", "root")
                wait_until(lambda: all(job.ended for job in self.jobs()), "all jobs have ended")
        finally:
            for name in reversed(list(self.daemons)):
                self.kill(name, signal.SIGTERM)
            for name in ("slurm.conf", "gres.conf"):
                (ETC / name).unlink(missing_ok=True)

    def works(self, *command: str) -> bool:
        return subprocess.run(command, capture_output=True).returncode == 0

    def ask(self, *command: str) -> str:
        """Run a command of Slurm, and return its output."""
        answer = subprocess.run(command, capture_output=True, text=True)
        assert answer.returncode == 0, f"{' '.join(command)}: {answer.stderr}"
        return answer.stdout

    def jobs(self) -> list["Job"]:
        """List all jobs since the start of the controller, in the order of their ids."""
        columns = [slice(start, start + WIDTH) for start in range(0, WIDTH * len(FIELDS), WIDTH)]
        shown = ",".join(f"{field}:.{WIDTH}" for field in FIELDS)
        listed = self.ask("squeue", "-h", "-t", "all", "--sort=i", "-O", shown).splitlines()
        return [Job(*(line[column].strip() for column in columns)) for line in listed]


def processes_of_jobs() -> Iterator[int]:
    """Yield the ids of processes inside jobs, found by their environment, and of the daemons of job steps."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            inside = b"\0SLURM_JOB_ID=" in (folder / "environ").read_bytes()
            if inside or (folder / "cmdline").read_bytes().startswith(b"slurmstepd: ["):
                yield int(folder.name)


@contextlib.contextmanager
def running(gpus: int = 2, cpus: int = 4, accounting: bool = False) -> Iterator[Cluster]:
    """Run a Slurm during the block. Its folder is in /tmp, because munged needs a folder that all users can enter."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    folder.chmod(0o755)
    with (folder / LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        started = Cluster(folder, gpus, cpus, accounting)
        try:
            started.start_all()
            yield started
        finally:
            started.stop()
            shutil.rmtree(folder)
