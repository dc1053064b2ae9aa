/* SPDX-License-Identifier: Apache-2.0 */
/* Asks polderd, and says what went wrong, with a code of CNI. */
#include "plugin/agent.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/common/cni_code.h"
#include "agent/common/control_client.h"
#include "plugin/log.h"

#define ANSWER_MAX (4u << 20)
#define CODE_MAX   999

/* The runtime's operator reads this: what, where, what to do. */
static void explain_away(const char *socket, int error, struct error *ret_failure)
{
	switch (-error) {
	case ENOENT:
	case ECONNREFUSED:
		error_set(ret_failure, -EINVAL, CNI_TRY_AGAIN, "polderd is not listening at %s",
			  socket);
		error_details(ret_failure, "is it running? systemctl status polderd, or the polder "
					   "DaemonSet's pod on this node; then try again");
		return;
	case EACCES:
	case EPERM:
		error_set(ret_failure, -EINVAL, CNI_IO_FAILURE, "no permission to connect to %s",
			  socket);
		error_details(ret_failure, "%s must run as root", plugin_program);
		return;
	case ETIMEDOUT:
		error_set(ret_failure, -EINVAL, CNI_TRY_AGAIN,
			  "polderd at %s accepts no more connections", socket);
		error_details(ret_failure,
			      "it is stuck or overloaded: see its log; then try again");
		return;
	default:
		error_set(ret_failure, -EINVAL, CNI_TRY_AGAIN,
			  "the request to polderd at %s failed: %s", socket, strerror(-error));
		return;
	}
}

static void explain_silence(const struct agent_address *agent, int error, struct error *ret_failure)
{
	switch (-error) {
	case ETIMEDOUT:
		error_set(ret_failure, -EINVAL, CNI_TRY_AGAIN,
			  "polderd at %s did not answer within %d s", agent->socket,
			  agent->timeout_ms / 1000);
		error_details(ret_failure,
			      "it is stuck or overloaded: see its log; then try again");
		return;
	case ECONNRESET:
		error_set(ret_failure, -EINVAL, CNI_TRY_AGAIN,
			  "polderd at %s closed the connection without an answer", agent->socket);
		error_details(ret_failure,
			      "it was stopped or crashed: see its log; then try again");
		return;
	case EPROTO:
	case EMSGSIZE:
		error_set(ret_failure, -EINVAL, CNI_DECODE,
			  "the answer of polderd at %s cannot be understood", agent->socket);
		error_details(ret_failure, "are polderd and %s of the same release?",
			      plugin_program);
		return;
	default:
		error_set(ret_failure, -EINVAL, CNI_TRY_AGAIN,
			  "polderd's answer at %s cannot be read: %s", agent->socket,
			  strerror(-error));
		return;
	}
}

static void pass_on(const struct error *theirs, struct error *ret_failure)
{
	bool sensible = theirs->code > 0 && theirs->code <= CODE_MAX;

	error_set(ret_failure, -EINVAL, sensible ? (enum cni_code)theirs->code : CNI_IO_FAILURE,
		  "%s",
		  theirs->text[0] ? theirs->text : "polderd refused the request without a reason");
	error_details(ret_failure, "%s", theirs->details);
}

static enum agent_outcome ask(const struct agent_address *agent, struct control_client *client,
			      const char *operation, const json_t *args, int fd,
			      json_t **ret_result, struct error *ret_failure)
{
	struct error refusal;
	int r = control_client_send(client, operation, args, fd, agent->timeout_ms);

	if (r < 0) {
		explain_away(agent->socket, r, ret_failure);
		return AGENT_AWAY;
	}
	r = control_client_receive(client, agent->timeout_ms, ret_result, &refusal);
	if (r == -EREMOTEIO) {
		pass_on(&refusal, ret_failure);
		return AGENT_REFUSED;
	}
	if (r < 0) {
		explain_silence(agent, r, ret_failure);
		return AGENT_SILENT;
	}
	return AGENT_OK;
}

enum agent_outcome agent_call(const struct agent_address *agent, const char *operation,
			      const json_t *args, int fd, json_t **ret_result,
			      struct error *ret_failure)
{
	struct control_client *client;
	enum agent_outcome outcome;
	int r = control_client_connect(agent->socket, ANSWER_MAX, CONTROL_CLIENT_CONNECT_MS,
				       &client);

	if (r < 0) {
		explain_away(agent->socket, r, ret_failure);
		return AGENT_AWAY;
	}
	outcome = ask(agent, client, operation, args, fd, ret_result, ret_failure);
	control_client_free(client);
	return outcome;
}
