"""deploy/install-packages: on another system it names what is needed, installs nothing, and lets the build be tried."""
from common import *

work = work_folder("packages")
install = os.path.join(SOURCE, "deploy", "install-packages")
lists = [os.path.join(SOURCE, "deploy", "packages.txt"), os.path.join(SOURCE, "tests", "packages.txt")]
needed = {line for name in lists for line in open(name).read().split()}
release = os.path.join(work, "os-release")
for text, name in (('ID=fedora\nVERSION_ID=39\nPRETTY_NAME="Fedora Linux 39"\n', "Fedora Linux 39"),
                   ('ID=debian\nVERSION_ID="13"\nPRETTY_NAME="Debian GNU/Linux 13 (trixie)"\n', "Debian GNU/Linux 13"), ("", "unknown"),
                   (None, "unknown")):
    if text is None:
        os.remove(release)
    else:
        with open(release, "w") as out:
            out.write(text)
    said = run([install, *lists], BONGSU_OS_RELEASE=release)
    need(name in said and "Nothing is installed" in said, f"not said for {name}: {said}")
    need(needed <= set(said.split()), f"missing for {name}: {needed - set(said.split())}")
with open(release, "w") as out:
    out.write('ID=debian\nVERSION_ID="12"\n')
need(run([install, os.devnull], BONGSU_OS_RELEASE=release) == "", "Debian 12 with nothing missing is no reason for words")
print("passed")
