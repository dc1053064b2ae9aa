# SPDX-License-Identifier: Apache-2.0
"""The harness of the namespace tests: nodes, pods, agents, traffic."""
