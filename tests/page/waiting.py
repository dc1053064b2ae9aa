# SPDX-License-Identifier: Apache-2.0
"""What every browser is asked until it is so."""

import time

WITHIN = 30  # seconds


class Waiting:
    """Of a class with js()."""

    def wait(self, expression, what=None):
        end = time.monotonic() + WITHIN
        while time.monotonic() < end:
            value = self.js(expression)
            if value:
                return value
            time.sleep(0.05)
        raise AssertionError(f'{what or expression}: not within {WITHIN} s')
