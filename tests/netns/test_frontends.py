# SPDX-License-Identifier: Apache-2.0
"""Services at every kind of address, from everywhere, to endpoints everywhere, where nodes route natively."""

from lib import frontends
from lib.runner import each_family

WORLD = {"nodes": 2}


def setup(world):
    frontends.fill(world)


@each_family
def test_a_pod_of_this_node_reaches_what_it_may(world, family):
    frontends.check(world, family, "pod-1")


@each_family
def test_a_pod_of_the_other_node_reaches_what_it_may(world, family):
    frontends.check(world, family, "pod-2")


@each_family
def test_this_node_reaches_what_it_may(world, family):
    frontends.check(world, family, "node-1")


@each_family
def test_the_other_node_reaches_what_it_may(world, family):
    frontends.check(world, family, "node-2")


@each_family
def test_the_outside_reaches_what_it_may(world, family):
    frontends.check(world, family, "outside")
