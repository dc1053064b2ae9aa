/* SPDX-License-Identifier: Apache-2.0 */
/* Asks polderd, and says in CNI's terms what went wrong. */
#include "cni/agent.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/common/control_client.h"

#define ANSWER_MAX (4u << 20)
#define CODE_MAX   999

/* The runtime's operator reads this: what, where, what to do. */
static void explain_away(const char *socket, int error, struct cni_failure *ret_failure)
{
	switch (-error) {
	case ENOENT:
	case ECONNREFUSED:
		cni_fail(ret_failure, CNI_TRY_AGAIN, "polderd is not listening at %s", socket);
		cni_details(ret_failure, "is it running? systemctl status polderd, or the polder "
					 "DaemonSet's pod on this node; then try again");
		return;
	case EACCES:
	case EPERM:
		cni_fail(ret_failure, CNI_IO, "no permission to connect to %s", socket);
		cni_details(ret_failure, "polder-cni must run as root");
		return;
	case ETIMEDOUT:
		cni_fail(ret_failure, CNI_TRY_AGAIN, "polderd at %s takes no more connections",
			 socket);
		cni_details(ret_failure, "it is stuck or overloaded: see its log; then try again");
		return;
	default:
		cni_fail(ret_failure, CNI_TRY_AGAIN, "polderd at %s cannot be asked: %s", socket,
			 strerror(-error));
		return;
	}
}

static void explain_silence(const struct cni_config *config, int error,
			    struct cni_failure *ret_failure)
{
	switch (-error) {
	case ETIMEDOUT:
		cni_fail(ret_failure, CNI_TRY_AGAIN, "polderd at %s did not answer within %d s",
			 config->socket, config->timeout_ms / 1000);
		cni_details(ret_failure, "it is stuck or overloaded: see its log; then try again");
		return;
	case ECONNRESET:
		cni_fail(ret_failure, CNI_TRY_AGAIN, "polderd at %s hung up without an answer",
			 config->socket);
		cni_details(ret_failure, "it was stopped or crashed: see its log; then try again");
		return;
	case EPROTO:
	case EMSGSIZE:
		cni_fail(ret_failure, CNI_DECODE, "the answer of polderd at %s makes no sense",
			 config->socket);
		cni_details(ret_failure, "are polderd and polder-cni of the same release?");
		return;
	default:
		cni_fail(ret_failure, CNI_TRY_AGAIN, "polderd's answer at %s cannot be read: %s",
			 config->socket, strerror(-error));
		return;
	}
}

static void pass_on(const struct control_failure *theirs, struct cni_failure *ret_failure)
{
	bool sensible = theirs->code > 0 && theirs->code <= CODE_MAX;

	cni_fail(ret_failure, sensible ? (enum cni_code)theirs->code : CNI_IO, "%s",
		 theirs->message[0] ? theirs->message : "polderd refused without saying why");
	cni_details(ret_failure, "%s", theirs->details);
}

static enum agent_outcome ask(const struct cni_config *config, struct control_client *client,
			      const char *operation, const json_t *args, int fd,
			      json_t **ret_result, struct cni_failure *ret_failure)
{
	struct control_failure refusal;
	int r = control_client_send(client, operation, args, fd, config->timeout_ms);

	if (r < 0) {
		explain_away(config->socket, r, ret_failure);
		return AGENT_AWAY;
	}
	r = control_client_receive(client, config->timeout_ms, ret_result, &refusal);
	if (r == -EREMOTEIO) {
		pass_on(&refusal, ret_failure);
		return AGENT_REFUSED;
	}
	if (r < 0) {
		explain_silence(config, r, ret_failure);
		return AGENT_SILENT;
	}
	return AGENT_OK;
}

enum agent_outcome agent_call(const struct cni_config *config, const char *operation,
			      const json_t *args, int fd, json_t **ret_result,
			      struct cni_failure *ret_failure)
{
	struct control_client *client;
	enum agent_outcome outcome;
	int r = control_client_connect(config->socket, ANSWER_MAX, CONTROL_CLIENT_CONNECT_MS,
				       &client);

	if (r < 0) {
		explain_away(config->socket, r, ret_failure);
		return AGENT_AWAY;
	}
	outcome = ask(config, client, operation, args, fd, ret_result, ret_failure);
	control_client_free(client);
	return outcome;
}
