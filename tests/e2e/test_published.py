# SPDX-License-Identifier: Apache-2.0
"""Ports that podman publishes (-p) and Polder serves: from everywhere, under policy, and gone with their container."""

from lib.runner import each_family, limit
from lib.traffic import V4
from publishing import PUBLISHED, TCP_PORT, expect_answers_until_it_ends, expect_localhost_alone, fetch, published, published_to_one
from runtimes import IMAGE, need

WORLD = {"nodes": 1}


def setup(world):
    need("podman", "curl")
    world.podman.write_network("1.0.0")


@each_family
@limit(150)
def test_port_that_podman_publishes_answers_everybody(world, family):
    expect_answers_until_it_ends(world, family)


@each_family
@limit(150)
def test_port_of_localhost_is_the_nodes_alone(world, family):
    expect_localhost_alone(world, family)


@each_family
@limit(150)
def test_policy_holds_at_a_port_that_podman_publishes(world, family):
    with published_to_one(world, world.node.ips[family]):
        pass  # that is all


@limit(150)
def test_port_of_another_container_is_refused_by_its_name(world):
    with published(world) as (web, _):
        done = world.podman.call("run", "--rm", "--network", "polder", *PUBLISHED[:2], IMAGE, "true", check=False)
        assert done.returncode and "portMappings" in done.stderr and "web" in done.stderr, done.stderr
        assert fetch(world.outside, world.node.ips[V4]) == "web"
        assert web.fetch(world.node.ips[V4], TCP_PORT) == "web"
