"""slurmdbd for the Slurm of cluster.py, with a MariaDB that listens only on a socket; both are Debian packages."""

import subprocess
from pathlib import Path

PROGRAMS = ("slurmdbd", "mariadbd", "mariadb-install-db", "mariadb")
NONE = "AccountingStorageType=accounting_storage/none\n"
# Lines of slurm.conf.
BOOKED = """
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort={dbd}
AccountingStoragePass={folder}/munge.socket
AccountingStoreFlags=job_comment
AccountingStorageTRES=gres/gpu,gres/gpu:h800
"""
CONF = """
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={dbd}
SlurmUser=root
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm
CommunicationParameters=NoInAddrAny
"""
# slurmdbd warns about smaller sizes.
SIZES = ("--innodb-buffer-pool-size=64M", "--innodb-log-file-size=16M", "--innodb-lock-wait-timeout=900")
USER = "create user slurm@localhost identified by 'slurm'; grant all on slurm.* to slurm@localhost"


def write_conf(folder: Path, port: int) -> None:
    """Write slurmdbd.conf, which contains a password, so that only its user can read it."""
    (folder / "slurmdbd.conf").touch(0o600)
    (folder / "slurmdbd.conf").write_text(CONF.format(folder=folder, dbd=port))


def make_database(folder: Path) -> None:
    """Create an empty database that only root can access."""
    subprocess.run(
        ["mariadb-install-db", *_where(folder), "--auth-root-authentication-method=socket", "--skip-test-db"],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def database(folder: Path) -> list[str]:
    """Return the command of the database daemon."""
    return ["mariadbd", *_where(folder), "--skip-networking", f"--socket={socket(folder)}", *SIZES]


def client(folder: Path, statements: str) -> list[str]:
    """Return the command that runs SQL statements in the database."""
    return ["mariadb", "--no-defaults", "-S", str(socket(folder)), "-e", statements]


def socket(folder: Path) -> Path:
    return folder / "mysql.socket"


def _where(folder: Path) -> list[str]:
    return ["--no-defaults", f"--datadir={folder}/mysql", "--user=root"]
