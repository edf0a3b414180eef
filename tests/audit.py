"""Known weaknesses of what is installed, by pip-audit: `make audit`. Exit code 1 if there is one.

A registry that mirrors packages need not have their advisories; that is said, and is no failure.
"""

import json
import subprocess
import sys
from pathlib import Path


def main() -> int:
    program = Path(sys.executable).with_name("pip-audit")
    command = [program, "--skip-editable", "--progress-spinner", "off", "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        print(f"advisories cannot be had here, so nothing was audited: {done.stderr.strip()[-300:]}")
        return 0
    asked = [one for one in packages if "skip_reason" not in one]
    weak = [(one["name"], one["version"], found) for one in asked for found in one["vulns"]]
    for name, version, found in weak:
        mended = ", ".join(found["fix_versions"]) or "no version yet"
        print(f"{name} {version}: {found['id']}, mended in {mended}")
    print(f"{len(asked):,} of {len(packages):,} packages were audited, {len(weak)} weaknesses found", end="")
    print("" if asked else "; this registry has no advisories: run it where pypi.org can be reached")
    return 1 if weak else 0


if __name__ == "__main__":
    sys.exit(main())
