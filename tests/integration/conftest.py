"""One trained model for all; deployments of a test's own on the shared broker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.brokers import Topics
from tests.integration.running import Deployment
from tests.models import tiny_artefact

MakeDeployment = Callable[..., Deployment]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_artefact(tmp_path_factory.mktemp("artefact") / "model")


@pytest.fixture
def deploy(tmp_path: Path, model: Path, request: pytest.FixtureRequest) -> Iterator[MakeDeployment]:
    """Makes a deployment (topics not created yet) on the shared broker, or on the one at `bootstrap`."""
    made: list[Deployment] = []

    def make(partitions: int = 1, bootstrap: str = "") -> Deployment:
        if not bootstrap:
            topics: Topics = request.getfixturevalue("topics")
            bootstrap = topics.bootstrap
        folder = tmp_path / f"deployment-{len(made)}"
        folder.mkdir()
        made.append(Deployment(folder, bootstrap, Topics(bootstrap)("it"), model, partitions))
        return made[-1]

    yield make
    for deployment in made:
        deployment.close()


@pytest.fixture
def deployment(deploy: MakeDeployment) -> Deployment:
    """One partition, topics created."""
    made = deploy()
    made.create_topics()
    return made
