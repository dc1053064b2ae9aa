/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frames: made frames through the programs of a node in maps, each outcome held against a model.
 * What goes wrong is told once, with the shortest story that was found for it; a story is a file of
 * lines that --replay reads.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "frames_model.h"

/* Frames between two empty flow tables: a story is never longer. */
#define STORY_MAX 1000
/* Ports and endpoints are chosen at random by the programs: a story is told so often before it is
 * believed not to go wrong. */
#define TELLINGS   24
#define WRONGS_MAX 32

struct options {
	uint64_t seconds, seed, frames;
	const char *replay, *corpus, *keep;
	bool verbose;
};

struct fuzz {
	struct options options;
	struct world *world;
	struct model *model;
	struct dice dice;
	struct probe *story;
	struct world_result *outcomes; /* of the story, as it was told first */
	size_t told;
	struct world_result last;
	const char *wrongs[WRONGS_MAX];
	int wrong_count;
	uint64_t frames, forwarded, sent_by_xdp, stack, dropped, refused;
};

static const char *const reasons[REASON_COUNT] = {
#define X(id, name, text) [REASON_##id] = name,
	POLDER_REASONS(X)
#undef X
};

static void forget(struct fuzz *fuzz)
{
	world_forget_flows(fuzz->world);
	model_forget(fuzz->model);
	fuzz->told = 0;
}

static bool drop_verdict(const struct probe *probe, int verdict)
{
	return verdict == (probe->hook == HOOK_WIRE_XDP ? 1 : 2);
}

static void count(struct fuzz *fuzz, const struct probe *probe, const struct world_result *result)
{
	fuzz->frames++;
	if (drop_verdict(probe, result->verdict))
		fuzz->dropped++;
	else if (result->drops)
		fuzz->refused++;
	else if (result->verdict == 7)
		fuzz->forwarded++;
	else if (result->verdict == 3)
		fuzz->sent_by_xdp++;
	else
		fuzz->stack++;
}

static const char *put(struct fuzz *fuzz, const struct probe *probe)
{
	fuzz->last = probe_run(fuzz->world, probe);
	count(fuzz, probe, &fuzz->last);
	return model_check(fuzz->model, probe, &fuzz->last);
}

/* ------------------------------------------------------------------ stories */

static void print_outcome(const struct fuzz *fuzz, size_t number, const char *wrong)
{
	printf("| frame %zu: verdict %d, reason %s%s%s\n| ", number, fuzz->last.verdict,
	       reasons[fuzz->last.reason], wrong ? ", wrong: " : "", wrong ? wrong : "");
	for (size_t i = 0; i < fuzz->last.out.length; i++)
		printf("%02x", fuzz->last.out.bytes[i]);
	printf("\n");
}

/* Does this go wrong when the story is told once? `as` NULL: anything. What did. */
static const char *tell_once(struct fuzz *fuzz, const struct probe *story, size_t length,
			     const char *as)
{
	forget(fuzz);
	for (size_t i = 0; i < length; i++) {
		const char *wrong = put(fuzz, &story[i]);

		if (fuzz->options.verbose)
			print_outcome(fuzz, i, wrong);

		if (wrong && (!as || !strcmp(wrong, as)))
			return wrong;
	}
	return NULL;
}

static const char *goes_wrong(struct fuzz *fuzz, const struct probe *story, size_t length,
			      const char *as)
{
	const char *wrong = NULL;

	for (int i = 0; i < TELLINGS && !wrong; i++)
		wrong = tell_once(fuzz, story, length, as);
	return wrong;
}

/* Leaves out what can be left out, halves first. The new length. */
static size_t shorten(struct fuzz *fuzz, struct probe *story, size_t length, const char *wrong)
{
	struct probe *rest = malloc(length * sizeof(*rest));

	if (!rest)
		abort();
	for (size_t chunk = length / 2; chunk; chunk /= 2) {
		for (size_t at = 0; at + chunk < length;) {
			memcpy(rest, story, at * sizeof(*rest));
			memcpy(rest + at, story + at + chunk,
			       (length - at - chunk) * sizeof(*rest));
			if (goes_wrong(fuzz, rest, length - chunk, wrong)) {
				length -= chunk;
				memcpy(story, rest, length * sizeof(*rest));
			} else {
				at += chunk;
			}
		}
	}
	free(rest);
	return length;
}

static bool told_before(struct fuzz *fuzz, const char *wrong)
{
	for (int i = 0; i < fuzz->wrong_count; i++)
		if (!strcmp(fuzz->wrongs[i], wrong))
			return true;
	return false;
}

static void print_story(const struct fuzz *fuzz, const struct probe *story, size_t length,
			const char *wrong, FILE *file)
{
	fprintf(file, "# %s: verdict %d, reason %s\n", wrong, fuzz->last.verdict,
		reasons[fuzz->last.reason]);
	for (size_t i = 0; i < length; i++)
		probe_print(&story[i], file);
	fprintf(file, "\n");
}

static void print_told(const struct fuzz *fuzz, size_t number, FILE *file)
{
	const struct world_result *outcome = &fuzz->outcomes[number];

	probe_print(&fuzz->story[number], file);
	fprintf(file, "# %zu: verdict %d, reason %s\n# ", number, outcome->verdict,
		reasons[outcome->reason]);
	for (size_t i = 0; i < outcome->out.length; i++)
		fprintf(file, "%02x", outcome->out.bytes[i]);
	fprintf(file, "\n");
}

/* Told again it does not go wrong: what the programs chose at random can be read from what left. */
static void keep_told(const struct fuzz *fuzz, size_t length, const char *wrong)
{
	FILE *file = fuzz->options.keep ? fopen(fuzz->options.keep, "a") : NULL;

	if (!file)
		return;
	fprintf(file, "# %s, but not when told again\n", wrong);
	for (size_t i = 0; i < length; i++)
		print_told(fuzz, i, file);
	fprintf(file, "\n");
	fclose(file);
}

static void keep_story(const struct fuzz *fuzz, size_t length, const char *wrong)
{
	FILE *file = fuzz->options.keep ? fopen(fuzz->options.keep, "a") : NULL;

	if (!file)
		return;
	print_story(fuzz, fuzz->story, length, wrong, file);
	fclose(file);
}

static void tell_wrong(struct fuzz *fuzz, size_t length, const char *wrong)
{
	char what[128];

	if (told_before(fuzz, wrong) || fuzz->wrong_count == WRONGS_MAX)
		return;
	fuzz->wrongs[fuzz->wrong_count++] = wrong;
	snprintf(what, sizeof(what), "%s", wrong);
	printf("wrong: %s (seed %lu, frame %lu)\n", what, fuzz->options.seed, fuzz->frames);
	if (goes_wrong(fuzz, fuzz->story, length, wrong)) {
		length = shorten(fuzz, fuzz->story, length, wrong);
		goes_wrong(fuzz, fuzz->story, length, wrong);
		print_story(fuzz, fuzz->story, length, wrong, stdout);
		keep_story(fuzz, length, wrong);
	} else {
		printf("| told again, the story of %zu frames does not go wrong in %d times; its "
		       "last frame:\n",
		       length, TELLINGS);
		print_story(fuzz, &fuzz->story[length - 1], 1, wrong, stdout);
		keep_told(fuzz, length, wrong);
	}
	fflush(stdout);
}

/* ------------------------------------------------------------------ stories of a file */

static void end_story(struct fuzz *fuzz, size_t length, const char *path, unsigned int line)
{
	const char *wrong = goes_wrong(fuzz, fuzz->story, length, NULL);

	if (!wrong)
		return;
	printf("wrong: %s (%s, before line %u): verdict %d, reason %s\n", wrong, path, line,
	       fuzz->last.verdict, reasons[fuzz->last.reason]);
	if (fuzz->wrong_count < WRONGS_MAX)
		fuzz->wrongs[fuzz->wrong_count++] = wrong;
}

/* Stories, each ended by an empty line; lines that begin with # say something to the reader. 0 or
 * -errno. */
static int replay(struct fuzz *fuzz, const char *path)
{
	FILE *file = fopen(path, "r");
	unsigned int number = 0;
	size_t length = 0, room = 0;
	char *line = NULL;
	int r = 0;

	if (!file)
		return -errno;
	while (r == 0 && getline(&line, &room, file) > 0) {
		number++;
		if (line[0] == '\n') {
			end_story(fuzz, length, path, number);
			length = 0;
		} else if (line[0] != '#') {
			r = length < STORY_MAX ? probe_read(&fuzz->story[length++], line) : -E2BIG;
		}
	}
	if (r < 0)
		fprintf(stderr, "frames: %s:%u: no frame: %s\n", path, number, strerror(-r));
	else
		end_story(fuzz, length, path, number);
	free(line);
	fclose(file);
	return r;
}

/* ------------------------------------------------------------------ random stories */

static uint64_t now_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec;
}

static void next_frame(struct fuzz *fuzz)
{
	struct probe *probe = &fuzz->story[fuzz->told];
	const char *wrong;

	probe_make(probe, &fuzz->dice, fuzz->world, fuzz->model);
	wrong = put(fuzz, probe);
	fuzz->outcomes[fuzz->told++] = fuzz->last;
	if (wrong)
		tell_wrong(fuzz, fuzz->told, wrong);
	if (wrong || fuzz->told == STORY_MAX)
		forget(fuzz);
}

static void run(struct fuzz *fuzz)
{
	uint64_t end = now_seconds() + fuzz->options.seconds;

	fuzz->frames = fuzz->forwarded = fuzz->sent_by_xdp = 0;
	fuzz->stack = fuzz->dropped = fuzz->refused = 0;
	forget(fuzz);
	while (now_seconds() < end &&
	       (!fuzz->options.frames || fuzz->frames < fuzz->options.frames))
		next_frame(fuzz);
	printf("# frames: seed %lu, %lu frames: %lu forwarded, %lu sent by XDP, %lu left to the "
	       "stack, %lu dropped, %lu refused\n",
	       fuzz->options.seed, fuzz->frames, fuzz->forwarded, fuzz->sent_by_xdp, fuzz->stack,
	       fuzz->dropped, fuzz->refused);
}

/* Frames that never get anywhere prove nothing. */
static bool vacuous(const struct fuzz *fuzz)
{
	return fuzz->options.seconds && fuzz->frames > 10000 &&
	       (fuzz->forwarded * 10 < fuzz->frames || fuzz->dropped * 10 < fuzz->frames ||
		!fuzz->refused || !fuzz->stack);
}

static int usage(int status)
{
	printf("frames [--seconds N] [--seed N] [--frames N] [--corpus FILE] [--replay FILE] "
	       "[--keep FILE] [--verbose]\n"
	       "  --seconds N    make frames for so long (60)\n"
	       "  --seed N       the same frames as another run, as far as the programs' own "
	       "random choices allow\n"
	       "  --frames N     no more than these\n"
	       "  --corpus FILE  the stories of this file first\n"
	       "  --replay FILE  the stories of this file only\n"
	       "  --keep FILE    add what goes wrong to this file\n"
	       "  --verbose      tell of each frame of a story what became of it\n");
	return status;
}

static int options_read(struct options *options, int argc, char **argv)
{
	static const struct option known[] = {
		{"seconds", required_argument, NULL, 's'},
		{"seed", required_argument, NULL, 'r'},
		{"frames", required_argument, NULL, 'n'},
		{"corpus", required_argument, NULL, 'c'},
		{"replay", required_argument, NULL, 'p'},
		{"keep", required_argument, NULL, 'k'},
		{"verbose", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int option;

	*options = (struct options){.seconds = 60,
				    .seed = (uint64_t)time(NULL) << 16 ^ (uint64_t)getpid()};
	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (option) {
		case 's':
			options->seconds = strtoull(optarg, NULL, 10);
			break;
		case 'r':
			options->seed = strtoull(optarg, NULL, 10);
			break;
		case 'n':
			options->frames = strtoull(optarg, NULL, 10);
			break;
		case 'c':
			options->corpus = optarg;
			break;
		case 'p':
			options->replay = optarg;
			break;
		case 'k':
			options->keep = optarg;
			break;
		case 'v':
			options->verbose = true;
			break;
		default:
			return -EINVAL;
		}
	}
	return optind == argc ? 0 : -EINVAL;
}

static int fuzz_open(struct fuzz *fuzz)
{
	static const struct world_options world_options = {.masquerade_port_min = PORT_MIN,
							   .masquerade_port_max = PORT_MAX};
	int r = world_open(&world_options, &fuzz->world);

	if (r == 0)
		r = world_know_neighbours();
	if (r < 0)
		return r;
	model_fill_world(fuzz->world);
	fuzz->model = model_new(fuzz->world);
	fuzz->story = calloc(STORY_MAX, sizeof(*fuzz->story));
	fuzz->outcomes = calloc(STORY_MAX, sizeof(*fuzz->outcomes));
	fuzz->dice.state = fuzz->options.seed;
	return fuzz->story && fuzz->outcomes ? 0 : -ENOMEM;
}

int main(int argc, char **argv)
{
	static struct fuzz fuzz;
	int r = options_read(&fuzz.options, argc, argv);

	if (r < 0)
		return usage(2);
	r = fuzz_open(&fuzz);
	if (r < 0) {
		fprintf(stderr, "frames: cannot load the programs: %s\n", strerror(-r));
		return 77;
	}
	if (fuzz.options.replay)
		fuzz.options.seconds = 0;
	if (fuzz.options.corpus || fuzz.options.replay)
		r = replay(&fuzz, fuzz.options.replay ? fuzz.options.replay : fuzz.options.corpus);
	if (r == 0 && fuzz.options.seconds)
		run(&fuzz);
	if (vacuous(&fuzz)) {
		printf("wrong: hardly any frame gets anywhere\n");
		r = -EINVAL;
	}
	free(fuzz.story);
	free(fuzz.outcomes);
	model_free(fuzz.model);
	world_close(&fuzz.world);
	return r < 0 || fuzz.wrong_count ? 1 : 0;
}
