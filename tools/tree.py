"""Where the project is, and what belongs to it."""

import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent


def all_files():
    """Every file of the project, as paths from its root: what git knows or would not ignore, or
    outside of a clone everything but what is built."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=False,
                            capture_output=True, text=True)
    if listed.returncode == 0:
        names = listed.stdout.splitlines()
    else:
        names = [str(path.relative_to(ROOT)) for path in ROOT.rglob("*")
                 if not path.relative_to(ROOT).parts[0].startswith((".git", "build"))]
    paths = [pathlib.Path(name) for name in sorted(set(names))]
    return [path for path in paths if (ROOT / path).is_file()]
