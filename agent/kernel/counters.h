/* SPDX-License-Identifier: Apache-2.0 */
/* What the programs counted, summed over the CPUs, with names. */
#pragma once

#include "datapath/abi.h"

/*
 * Each fills an array: DROPS_COUNT sums, index reason * DROP_HOOKS + hook; COUNTER_COUNT
 * sums. What a map of an older release does not have is 0. 0 or -errno.
 */
#define DROPS_COUNT (REASON_COUNT * DROP_HOOKS)
int counters_read_drops(int map_fd, struct drop_counter *ret);
int counters_read(int map_fd, __u64 *ret);
int counters_read_one(int map_fd, enum polder_counter which, __u64 *ret);

/* Names as metrics and events have them; "unknown" for a number of a newer release. */
const char *reason_name(unsigned int reason);
const char *hook_name(unsigned int hook);
const char *counter_name(unsigned int counter);
const char *counter_text(unsigned int counter);
/* "tcp", "udp", "sctp", "icmp", "icmpv6"; others by number, in `buffer`. */
#define PROTO_NAME_MAX 16
const char *proto_name(unsigned int proto, char buffer[PROTO_NAME_MAX]);
const char *family_name(unsigned int family); /* "ipv4", "ipv6", "" */
