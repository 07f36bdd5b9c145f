"""A small systemd1 for tests: the calls that the executor makes, units of each kind, and jobs that end later.

Prints "ready" when it has its name; writes each call to the file named first.
"""
import signal
import subprocess
import sys
import dbus
import dbus.service
import dbus.mainloop.glib
from gi.repository import GLib

MANAGER = "org.freedesktop.systemd1.Manager"
UNIT = "org.freedesktop.systemd1.Unit"
# How each unit's start ends: the job's result, and its state then.
KINDS = {
    "good": ("done", "active"),
    "bad": ("failed", "failed"),
    "needy": ("dependency", "inactive"),
    "oneshot": ("done", "inactive"),
    "slow": ("done", "active"),
}


class Unit(dbus.service.Object):
    def __init__(self, bus, name):
        self.known = name.removesuffix(".service") in KINDS
        self.state = "inactive"
        self.main = None
        self.path = "/org/freedesktop/systemd1/unit/" + "".join(c if c.isalnum() else "_" for c in name)
        self.name = name
        super().__init__(bus, self.path)

    def ended(self, pid, status):
        if self.main and self.main.pid == pid:
            self.main = None
            self.state = "failed"

    def end(self):
        if self.main:
            main, self.main = self.main, None
            main.kill()

    @dbus.service.method(dbus.PROPERTIES_IFACE, in_signature="ss", out_signature="v")
    def Get(self, interface, name):
        if interface == "org.freedesktop.systemd1.Service":
            return {"MainPID": dbus.UInt32(self.main.pid if self.main else 0)}[name]
        assert interface == UNIT
        return {
            "ActiveState": self.state,
            "LoadState": "loaded" if self.known else "not-found",
            "Description": f"The {self.name.removesuffix('.service')} unit",
        }[name]


class Manager(dbus.service.Object):
    def __init__(self, bus, log):
        self.bus, self.log, self.units, self.jobs, self.subscribed = bus, log, {}, 0, False
        super().__init__(bus, "/org/freedesktop/systemd1")

    def write(self, *words):
        with open(self.log, "a") as log:
            print(*words, file=log)

    def unit(self, name):
        if name not in self.units:
            self.units[name] = Unit(self.bus, name)
        return self.units[name]

    def job(self, unit, result, state, between, after_ms):
        self.jobs += 1
        number, path = self.jobs, f"/org/freedesktop/systemd1/job/{self.jobs}"
        unit.state = between

        def end():
            unit.state = state
            if state == "active":
                unit.main = subprocess.Popen(["sleep", "1000"])
                # Nothing of it outlives this process.
                GLib.child_watch_add(GLib.PRIORITY_DEFAULT, unit.main.pid, unit.ended)
            if self.subscribed:
                self.JobRemoved(number, path, unit.name, result)
            return False

        GLib.timeout_add(after_ms, end)
        return dbus.ObjectPath(path)

    @dbus.service.method(MANAGER, in_signature="s", out_signature="o")
    def LoadUnit(self, name):
        self.write("LoadUnit", name)
        return dbus.ObjectPath(self.unit(name).path)

    @dbus.service.method(MANAGER, in_signature="ss", out_signature="o")
    def StartUnit(self, name, mode):
        self.write("StartUnit", name, mode)
        result, state = KINDS[name.removesuffix(".service")]
        return self.job(self.unit(name), result, state, "activating", 6000 if name == "slow.service" else 50)

    @dbus.service.method(MANAGER, in_signature="ss", out_signature="o")
    def StopUnit(self, name, mode):
        self.write("StopUnit", name, mode)
        self.unit(name).end()
        return self.job(self.unit(name), "done", "inactive", "deactivating", 50)

    @dbus.service.method(MANAGER)
    def Subscribe(self):
        self.write("Subscribe")
        self.subscribed = True

    @dbus.service.method(MANAGER)
    def Reload(self):
        self.write("Reload")

    @dbus.service.method(MANAGER, out_signature="a(ss)")
    def ListUnitFiles(self):
        return [(f"/lib/systemd/system/{name}.service", "enabled") for name in ("good", "bad", "needy")]

    @dbus.service.method(MANAGER, out_signature="a(ssssssouso)")
    def ListUnits(self):
        names = [f"{n}.service" for n in ("slow", "oneshot", "good")] + ["sockets.target"]
        return [(n, "", "loaded", "active", "running", "", "/u", 0, "", "/") for n in names]

    @dbus.service.signal(MANAGER, signature="uoss")
    def JobRemoved(self, number, path, unit, result):
        pass


dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
bus = dbus.SystemBus()
manager = Manager(bus, sys.argv[1])
name = dbus.service.BusName("org.freedesktop.systemd1", bus)
loop = GLib.MainLoop()
GLib.unix_signal_add(GLib.PRIORITY_DEFAULT, signal.SIGTERM, loop.quit)
print("ready", flush=True)
loop.run()
for unit in manager.units.values():
    unit.end()
