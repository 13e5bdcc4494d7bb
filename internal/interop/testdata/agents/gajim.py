"""Gajim, which this program starts on the session's bus, with a player of music beside it.

    dbus-run-session -- /usr/bin/python3 gajim.py     as the user whose HOME has Gajim's settings; not as root

One line of standard input is one command, an object of JSON with "do" and its arguments; one line of standard output is its
answer: {"result": ...} or {"error": "..."}. What Gajim logs goes to standard error.
"""

import json
import subprocess
import sys

import dbus
import dbus.service
from dbus.mainloop.glib import DBusGMainLoop
from gi.repository import GLib

PROPERTIES = 'org.freedesktop.DBus.Properties'


class Player(dbus.service.Object):
    """What plays music (MPRIS 2): it says what, and when that changes."""

    def __init__(self, bus):
        self.name = dbus.service.BusName('org.mpris.MediaPlayer2.interop', bus)
        super().__init__(bus, '/org/mpris/MediaPlayer2')
        self.properties = {}

    def play(self, artist, title):
        self.properties = {
            'PlaybackStatus': 'Playing',
            'Metadata': dbus.Dictionary({'xesam:artist': dbus.Array([artist], signature='s'), 'xesam:title': title}, signature='sv'),
        }
        self.PropertiesChanged('org.mpris.MediaPlayer2.Player', self.properties, [])

    @dbus.service.method(PROPERTIES, in_signature='s', out_signature='a{sv}')
    def GetAll(self, interface):
        return self.properties

    @dbus.service.method(PROPERTIES, in_signature='ss', out_signature='v')
    def Get(self, interface, name):
        return self.properties[name]

    @dbus.service.signal(PROPERTIES, signature='sa{sv}as')
    def PropertiesChanged(self, interface, changed, invalidated):
        pass


class Commands:
    """Each method is a command; a is its line."""

    def __init__(self, bus):
        self.bus = bus
        self.player = Player(bus)
        self.gajim = subprocess.Popen(['gajim'], stdin=subprocess.DEVNULL, stdout=sys.stderr)

    def process(self, a):
        return self.gajim.pid

    def open(self, a):
        """Opens a chat in the window."""
        x = self.bus.get_object('org.gajim.Gajim', '/org/gajim/Gajim')
        chat = dbus.Array([a['account'], a['jid']], signature='s', variant_level=1)
        dbus.Interface(x, 'org.gtk.Actions').Activate('open-chat', dbus.Array([chat], signature='v'), dbus.Dictionary({}, signature='sv'))

    def play(self, a):
        self.player.play(a['artist'], a['title'])


def on_line(source, _, commands):
    line = source.readline()
    if not line:
        commands.gajim.terminate()
        loop.quit()
        return False
    a = json.loads(line)
    try:
        answer = {'result': getattr(commands, a['do'])(a)}
    except Exception as e:  # whatever it is, the test is to know of it
        answer = {'error': f'{type(e).__name__}: {e}'}
    print(json.dumps(answer), flush=True)
    return True


DBusGMainLoop(set_as_default=True)
loop = GLib.MainLoop()
GLib.io_add_watch(sys.stdin, GLib.IO_IN | GLib.IO_HUP, on_line, Commands(dbus.SessionBus()))
loop.run()
