# SPDX-License-Identifier: Apache-2.0
"""An address is not given to the next pod while others may still send to the last one, whatever happens to the agent in between."""

import os
import shutil
import signal

from lib.runner import limit
from lib.traffic import BOTH


def setup(world):
    world.agent = world.node.agent


def once(world, name):
    pod = world.pod(name)
    ips = dict(pod.ips)
    pod.delete()
    return ips


@limit(90)
def test_address_rests_over_restarts(world):
    given = [once(world, "a")]
    for end in ("stop", "kill", "damaged"):
        if end == "stop":
            world.agent.stop()
        else:
            world.agent.kill(signal.SIGKILL)
        if end == "damaged":
            shutil.rmtree(world.agent.options["run-dir"])
        world.agent.start()
        given.append(once(world, "a"))
    for family in BOTH:
        assert len({ips[family] for ips in given}) == len(given), given


@limit(60)
def test_newest_pods_end_gives_nothing_free_at_once(world):
    """The search goes on after the address that was given last, not after the newest pod that lives."""
    older = world.pod("older")
    newest = world.pod("newest")
    ips = dict(newest.ips)
    newest.delete()
    world.agent.restart()
    late = world.pod("late")
    for family in BOTH:
        assert late.ips[family] not in (ips[family], older.ips[family])


@limit(60)
def test_address_that_is_asked_for_is_given_at_once(world):
    ips = once(world, "fixed")
    config = world.node.cni_config(args={"cni": {"ips": list(ips.values())}})
    again = world.pod("fixed", config=config)
    assert again.ips == ips


def test_damaged_file_of_resting_addresses_stops_nothing(world):
    world.agent.stop()
    with open(os.path.join(world.agent.options["state-dir"], "pool.json"), "wb") as file:
        file.write(b"\0" * 100)
    world.agent.start()
    assert "pool.json" in world.agent.log_tail(20)
    world.pod("after")
