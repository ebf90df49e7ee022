"""Starts programs of an unpacked image as a pod of the PodSecurity level "restricted" would.

A user nobody has heard of, group 0, no other groups, read-only root, no capabilities, no new privileges, first
process of its own PID namespace, the default seccomp profile of container engines, and of the network only what the
caller has. By crun where it is installed; else by chroot, which leaves out the profile and lets three capabilities
stay in the bounding set, where without new privileges nobody gets at them.
"""
import json
import os
import pathlib
import shutil
import subprocess
import time

SECCOMP = pathlib.Path("/usr/share/containers/seccomp.json")
ARCHITECTURES = {"x86_64": ("amd64", "SCMP_ARCH_X86_64"), "aarch64": ("arm64", "SCMP_ARCH_AARCH64")}


def seccomp_profile():
    """The engines' default profile, which is written with conditions, as a runtime takes it: for no capabilities."""
    profile = json.loads(SECCOMP.read_text())
    name, constant = ARCHITECTURES[os.uname().machine]
    rules = []
    for rule in profile["syscalls"]:
        includes = rule.get("includes") or {}
        if not includes.get("caps") and name in includes.get("arches", [name]):
            rules.append({key: rule[key] for key in ("names", "action", "args", "errnoRet") if rule.get(key)})
    return {"defaultAction": profile["defaultAction"], "defaultErrnoRet": profile["defaultErrnoRet"],
            "architectures": [constant], "syscalls": rules}


class Runtime:
    """Of one image: its unpacked root, its configuration, a folder for what a runtime needs."""

    def __init__(self, root, config, work, uid, name=None):
        self.root, self.config, self.work, self.uid = root, config, work, uid
        self.name = name or ("crun" if shutil.which("crun") else "chroot")
        self.started = 0

    def command(self, args, entrypoint, mounts):
        """mounts: path in the container -> (path here, "ro" or "rw"). Returns what to execute."""
        self.started += 1
        argv = (entrypoint or self.config["Entrypoint"]) + args
        return (self.crun if self.name == "crun" else self.chroot)(f"ridged-{self.started}", argv, mounts)

    def crun(self, name, argv, mounts):
        bundle = self.work / name
        bundle.mkdir()
        bind = [{"destination": to, "source": str(source), "type": "bind", "options": ["bind", "nosuid", "nodev", mode]}
                for to, (source, mode) in mounts.items()]
        linux = {"namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")]}
        if SECCOMP.exists():
            linux["seccomp"] = seccomp_profile()
        (bundle / "config.json").write_text(json.dumps({
            "ociVersion": "1.0.2", "hostname": "pod", "root": {"path": str(self.root), "readonly": True},
            "process": {"args": argv, "env": self.config["Env"], "cwd": self.config.get("WorkingDir") or "/",
                        "user": {"uid": self.uid, "gid": 0}, "capabilities": {}, "noNewPrivileges": True},
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"},
                       {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
                       *bind],
            "linux": linux}))
        return ["crun", f"--root={self.work}/crun", "--cgroup-manager=disabled", "run", f"--bundle={bundle}", name]

    def chroot(self, name, argv, mounts):
        place = self.work / name
        place.mkdir()
        script = 'mount --bind "$1" "$2" && mount -o remount,bind,ro "$2" && cd "$2" && place=$2 && shift 2 && '
        words = [str(self.root), str(place)]
        for to, (source, mode) in mounts.items():
            script += f'mount --bind "$1" "$place$2" && mount -o remount,bind,{mode} "$place$2" && shift 2 && '
            words += [str(source), to]
        script += ('exec setpriv --bounding-set=-all,+sys_chroot,+setuid,+setgid --no-new-privs '
                   f'chroot --userspec={self.uid}:0 --groups= "$place" "$@"')
        environment = ["env", "-i", *self.config["Env"], "PATH=" + os.environ["PATH"]]
        return [*environment, "unshare", "--mount", "--pid", "--fork", "sh", "-c", script, "sh", *words, *argv]

    def run(self, args, entrypoint=None, mounts=None):
        """To its end: (exit code, output)."""
        done = subprocess.run(self.command(args, entrypoint, mounts or {}), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
        return done.returncode, done.stdout

    def start(self, args, entrypoint=None, mounts=None):
        return Container(self.command(args, entrypoint, mounts or {}), self.work / f"{self.started}.log")


class Container:
    def __init__(self, command, log):
        self.log = log
        with log.open("w") as out:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    def wait_for(self, text, patience=20):
        """The first line of its log that has the text, as JSON."""
        end = time.monotonic() + patience
        while time.monotonic() < end:
            for line in self.log.read_text().splitlines():
                if text in line:
                    return json.loads(line)
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise RuntimeError(f"expected {text} in:\n{self.log.read_text()}")

    def pid(self):
        """As it is seen from here: the one child of what started it."""
        return int(pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text())

    def status(self):
        return dict(line.split(":\t", 1) for line in
                    pathlib.Path(f"/proc/{self.pid()}/status").read_text().splitlines() if ":\t" in line)

    def stop(self, signal):
        os.kill(self.pid(), signal)
        return self.process.wait(30)
