"""Real reverse proxies, each with its configuration from `deploy/proxies`, on a free port before a service."""

import contextlib
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.servers.services import eventually, free_port, need


FOLDER = Path(__file__).parent.parent.parent.parent / "deploy" / "proxies"
# What the files are written for.
UPSTREAM_PORT, PORT = "5000", "8080"

# What belongs to the system and not to the file: where processes write, and which modules are loaded.
NGINX = """\
daemon off;
pid {directory}/pid;
error_log {directory}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    include {file};
}}
"""
APACHE_MODULES = ("mpm_event", "authz_core", "deflate", "filter", "headers", "proxy", "proxy_http", "reqtimeout")
APACHE = """\
ServerName localhost
PidFile {directory}/pid
ErrorLog {directory}/error.log
DefaultRuntimeDir {directory}
User www-data
Group www-data
{modules}
Include {file}
"""


@dataclass(frozen=True, kw_only=True)
class ReverseProxy:
    """A program that is a reverse proxy.

    :param file: its configuration in `deploy/proxies`
    :param program: its name
    :param command: from the copy of that file, a directory and a port to the arguments that start it
    """

    file: str
    program: str
    command: Callable[[Path, Path, int], list[str]]


def nginx(file: Path, directory: Path, _port: int) -> list[str]:
    main = directory / "main.conf"
    main.write_text(NGINX.format(directory=directory, file=file))
    return ["-c", str(main), "-e", str(directory / "error.log")]


def apache(file: Path, directory: Path, _port: int) -> list[str]:
    modules = "\n".join(f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so" for name in APACHE_MODULES)
    main = directory / "main.conf"
    main.write_text(APACHE.format(directory=directory, file=file, modules=modules))
    return ["-DFOREGROUND", "-f", str(main)]


def haproxy(file: Path, _directory: Path, _port: int) -> list[str]:
    return ["-db", "-f", str(file)]


def caddy(file: Path, _directory: Path, _port: int) -> list[str]:
    # The administration would be on a fixed port.
    file.write_text("{\n\tadmin off\n}\n" + file.read_text())
    return ["run", "--adapter", "caddyfile", "--config", str(file)]


def varnish(file: Path, directory: Path, port: int) -> list[str]:
    return ["-F", "-j", "none", "-f", str(file), "-a", f"127.0.0.1:{port}", "-n", str(directory / "varnish")]


REVERSE_PROXIES = {
    "nginx": ReverseProxy(file="nginx.conf", program="nginx", command=nginx),
    "apache": ReverseProxy(file="apache.conf", program="apache2", command=apache),
    "haproxy": ReverseProxy(file="haproxy.cfg", program="haproxy", command=haproxy),
    "caddy": ReverseProxy(file="Caddyfile", program="caddy", command=caddy),
    "varnish": ReverseProxy(file="varnish.vcl", program="varnishd", command=varnish),
}


@contextlib.contextmanager
def reverse_proxy(name: str, directory: Path, upstream_port: int, *, configuration: str | None = None) -> Iterator[int]:
    """Run a reverse proxy before a service, and return its port.

    :param name: which of them
    :param configuration: instead of its file
    """
    proxy, port = REVERSE_PROXIES[name], free_port()
    program = shutil.which(proxy.program, path="/usr/sbin:/usr/bin:/usr/local/bin")
    need(program, proxy.program)
    text = configuration or (FOLDER / proxy.file).read_text()
    directory.mkdir(exist_ok=True)
    file = directory / proxy.file
    file.write_text(text.replace(UPSTREAM_PORT, str(upstream_port)).replace(PORT, str(port)))
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(program), *proxy.command(file, directory, port)],
            stdout=log,
            stderr=log,
            env={"HOME": str(directory), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        )
    try:
        eventually(lambda: process.poll() is not None or listens(port))
        assert process.poll() is None, (directory / "log").read_text()
        yield port
    finally:
        process.terminate()
        process.wait(30)


def listens(port: int) -> bool:
    """Tell whether somebody listens on a port of this machine."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False
