"""Sentences of real engines, and whose fault they tell of."""

import pytest

from runyard.drivers.docker_faults import is_of_host, is_of_way

HOST = [
    "mkdir /var/lib/docker/overlay2/abc-init: no space left on device",
    "error creating overlay mount to /var/lib/docker/overlay2/x/merged: device or resource busy",
    "failed to create task for container: failed to create shim task: OCI runtime create failed: "
    "runc create failed: unable to start container process: error during container init: error "
    "running prestart hook #0: exit status 1, stdout: , stderr: Auto-detected mode as 'legacy'\n"
    "nvidia-container-cli: initialization error: nvml error: driver/library version mismatch",
    'could not select device driver "" with capabilities: [[gpu]]',
    "failed to start shim: start failed: io.containerd.runc.v2: no such file or directory",
    "open /var/lib/docker/containers/ab/.tmp-config: read-only file system",
    "write /var/lib/docker/containers/ab/hostconfig.json: input/output error",
    "fork/exec /usr/bin/unpigz: too many open files",
    "failed to set up container networking: could not find an available, non-overlapping IPv4",
    "crun: cannot allocate memory",
]
JOB = [
    "failed to create task for container: failed to create shim task: OCI runtime create failed: "
    'runc create failed: unable to start container process: exec: "trian.py": executable file not '
    "found in $PATH: unknown",
    'OCI runtime create failed: runc create failed: exec: "/run.sh": permission denied: unknown',
    'exec: "/app": stat /app: no such file or directory: unknown',
    "exec /entry.sh: exec format error",
    'exec: "nvidia-container-cli": executable file not found in $PATH: unknown',
    "OCI runtime create failed: mkdir /work: read-only file system: unknown",
    "unable to find user trainer: no matching entries in passwd file",
    'invalid mount config for type "bind": bind source path does not exist: /data',
    "Minimum memory limit allowed is 6MB",
    "Bind for 0.0.0.0:8080 failed: port is already allocated",
    "No such image: digits:latest",
    "Range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available",
]
WAY = [
    *HOST,
    'Get "https://registry-1.docker.io/v2/": dial tcp 3.94.1.1:443: connect: connection refused',
    'Get "https://r.example/v2/": net/http: TLS handshake timeout',
    'Get "https://r.example/v2/": tls: failed to verify certificate: x509: certificate signed by '
    "unknown authority",
    'Get "https://r.example/v2/": dial tcp: lookup r.example: Temporary failure in name resolution',
    'Get "https://r.example/v2/": net/http: request canceled while waiting for connection '
    "(Client.Timeout exceeded while awaiting headers)",
    "received unexpected HTTP status: 503 Service Unavailable",
    "unexpected status from HEAD request to https://r.example/v2/x/manifests/1: 502 Bad Gateway",
    "toomanyrequests: You have reached your pull rate limit.",
    "failed to register layer: write /usr/lib/libcudnn.so: no space left on device",
    "unexpected EOF",
    'Get "https://registry.example/v2/": dial tcp: lookup registry.example: no such host',
]
NAME = [
    "pull access denied for digits, repository does not exist or may require 'docker login'",
    "manifest for python:9.9 not found: manifest unknown: manifest unknown",
    "unauthorized: authentication required",
    "no matching manifest for linux/arm64/v8 in the manifest list entries",
    "invalid reference format",
    "denied: requested access to the resource is denied",
]


@pytest.mark.parametrize("said", HOST)
def test_the_engines_own_trouble_is_the_hosts(said: str) -> None:
    assert is_of_host(said)


@pytest.mark.parametrize("said", [*JOB, *NAME])
def test_what_the_job_asked_for_is_not(said: str) -> None:
    assert not is_of_host(said)


@pytest.mark.parametrize("said", WAY)
def test_no_way_to_the_registry_is_the_hosts(said: str) -> None:
    assert is_of_way(said)


@pytest.mark.parametrize("said", NAME)
def test_an_image_that_is_not_there_is_not(said: str) -> None:
    assert not is_of_way(said)
