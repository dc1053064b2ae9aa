/* SPDX-License-Identifier: Apache-2.0 */
/* Error codes of the CNI specification (1.1.0), which runtimes act on, and our own from 100 up. */
#pragma once

enum cni_code {
	CNI_INCOMPATIBLE_VERSION = 1,
	CNI_UNSUPPORTED_FIELD = 2,
	CNI_UNKNOWN_CONTAINER = 3,
	CNI_INVALID_ENVIRONMENT = 4,
	CNI_IO_FAILURE = 5,
	CNI_DECODE = 6,
	CNI_INVALID_CONFIG = 7,
	CNI_TRY_AGAIN = 11,
	CNI_NOT_AVAILABLE = 50,
	CNI_LIMITED = 51,	/* and connected containers may have limited connectivity */
	CNI_CHECK_FAILED = 100, /* what CHECK found */
};
