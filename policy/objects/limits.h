/* SPDX-License-Identifier: Apache-2.0 */
/* How much of anything a text may hold, and how large a rule set may grow. */
#pragma once

/* What users write: more is refused with an error that names the number. */
#define LIMIT_DEPTH	      256     /* nested arrays and objects */
#define LIMIT_VALUES	      8000000 /* values in one text */
#define LIMIT_LIST_NESTING    4	      /* lists in lists */
#define LIMIT_NAME	      253
#define LIMIT_NAMESPACE	      63
#define LIMIT_UID	      128
#define LIMIT_VERSION	      128  /* resourceVersion */
#define LIMIT_STRING	      1024 /* any other text that is kept */
#define LIMIT_LABELS	      1024
#define LIMIT_LABEL_PREFIX    253
#define LIMIT_LABEL_NAME      63
#define LIMIT_LABEL_VALUE     63
#define LIMIT_SELECTOR_TERMS  1024
#define LIMIT_SELECTOR_VALUES 4096
#define LIMIT_PORT_NAME	      63
#define LIMIT_RULES	      4096 /* of one direction of a policy */
#define LIMIT_PEERS	      8192 /* of one rule */
#define LIMIT_RULE_PORTS      4096 /* of one rule */
#define LIMIT_EXCEPTS	      8192 /* of one ipBlock */
#define LIMIT_CLUSTER_ITEMS                                                                        \
	25 /* rules of a direction, peers, CIDRs, protocols of a cluster policy */
#define LIMIT_PRIORITY	      1000
#define LIMIT_RULE_NAME	      100
#define LIMIT_ALERT_MESSAGE   256
#define LIMIT_ALERT_NETWORKS  1024
#define LIMIT_ALERT_SERVICES  64
#define LIMIT_ALERT_PROGRAMS  64
#define LIMIT_ALERT_PORTS     64
#define LIMIT_ALERT_PROGRAM   255
#define LIMIT_ALERT_TARGETS   1000
#define LIMIT_ALERT_COUNTING  86400   /* seconds in which something is counted */
#define LIMIT_ALERT_LEARNING  2592000 /* seconds in which peers and the like are learnt: 30 days */
#define LIMIT_CONTAINERS      1024
#define LIMIT_CONTAINER_PORTS 4096
#define LIMIT_POD_ADDRESSES   16
#define LIMIT_CONDITIONS      1024
#define LIMIT_NODE_ADDRESSES  256
#define LIMIT_NODE_RANGES     64
#define LIMIT_CLUSTER_IPS     16
#define LIMIT_SERVICE_PORTS   4096
#define LIMIT_SERVICE_ADDRS   256 /* external ones, and those of load balancers */
#define LIMIT_SOURCE_RANGES   4096
#define LIMIT_RANGE_TEXT      63
#define LIMIT_HINTS	      256   /* zones, or nodes, of one endpoint */
#define LIMIT_ENDPOINTS	      10000 /* of one slice */
#define LIMIT_ENDPOINT_ADDRS  100
#define LIMIT_SLICE_PORTS     4096

/* What one rule set may hold: a larger one becomes RULESET_CAPACITY, which passes nothing. */
#define RULESET_MAX_CLASSES	  65535
#define RULESET_MAX_ATOMS	  16384
#define RULESET_MAX_BLOCKS	  (2u << 20)   /* CIDRs and excepts before they are made disjoint */
#define RULESET_MAX_ENTRIES	  (1u << 20)   /* of prefixes, of ports, of cells */
#define RULESET_MAX_WORDS	  (16u << 20)  /* 64-bit words of all its classes */
#define RULESET_MAX_ADDRESS_TESTS (256u << 20) /* pods' addresses against blocks */
#define RULESET_MAX_CELL_OPS	  (512ull << 20)
