// SPDX-License-Identifier: GPL-2.0
/*
 * A TCG plugin that counts executed guest instructions by address. Whenever the guest executes the
 * mark, it writes the counts so far. The difference of two marks is what was executed between them.
 *
 * Arguments:
 *	out=FILE	file for snapshots
 *	bucket=BYTES	number of addresses counted together, a power of two; 4096 by default
 *
 * The mark is the instruction "or 20,20,20", which does nothing and is used by neither compilers
 * nor the kernel. r3 is the mark's number. The mark is recognised in user space only, where
 * interrupts and page faults of the marking program are all that can come between. A snapshot is
 * text:
 *
 *	mark NUMBER total INSTRUCTIONS
 *	ADDRESS INSTRUCTIONS		for each bucket with instructions; ADDRESS in hexadecimal
 *	end
 *
 * Each instruction is counted separately and when it starts, so blocks that are left early are
 * counted correctly. An instruction that faults and is started again counts twice.
 */
#include <glib.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <qemu-plugin.h>

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;

/* "or 20,20,20" */
#define MARK			0x7e94a378u

/* The kernel's addresses, and none of user space, have this bit. */
#define KERNEL_ADDRESS		(UINT64_C(1) << 63)

/* Maximum number of buckets: more than a guest has pages of code, or executes pieces of 32 bytes. */
#define MAX_BUCKETS		(1u << 20)

/* Address for counts beyond MAX_BUCKETS. No code is at the highest address. */
#define OVERFLOW_BUCKET		0
#define OVERFLOW_ADDRESS	UINT64_MAX

static struct {
	/* Protects what translation changes: bucket_of, addresses. */
	GMutex lock;
	/* Bucket of an address without its low bits. */
	GHashTable *bucket_of;
	/* Address of a bucket; GUINT64 each. */
	GArray *addresses;
	/* MAX_BUCKETS counters for each virtual processor. */
	struct qemu_plugin_scoreboard *counters;
	uint64_t mask;
	struct qemu_plugin_register *r3;
	FILE *out;
} state = { .mask = ~UINT64_C(4095) };

static qemu_plugin_u64 counter(guint bucket)
{
	return (qemu_plugin_u64){ .score = state.counters, .offset = bucket * sizeof(uint64_t) };
}

/* Finds or makes the bucket of an address. The lock is held. */
static guint bucket_of(uint64_t address)
{
	gpointer found;
	uint64_t *key;

	address &= state.mask;
	found = g_hash_table_lookup(state.bucket_of, &address);
	if (found)
		return GPOINTER_TO_UINT(found);
	if (state.addresses->len == MAX_BUCKETS)
		return OVERFLOW_BUCKET;
	g_array_append_val(state.addresses, address);
	key = g_new(uint64_t, 1);
	*key = address;
	g_hash_table_insert(state.bucket_of, key, GUINT_TO_POINTER(state.addresses->len - 1));
	return state.addresses->len - 1;
}

/* The mark's number. Registers come in the guest's byte order; numbers are small and not 0. */
static uint64_t mark_number(void)
{
	g_autoptr(GByteArray) bytes = g_byte_array_new();
	uint64_t big = 0, little = 0;
	guint i;

	if (!state.r3 || qemu_plugin_read_register(state.r3, bytes) != sizeof(uint64_t))
		return 0;
	for (i = 0; i < bytes->len; i++) {
		big = big << 8 | bytes->data[i];
		little = little << 8 | bytes->data[bytes->len - 1 - i];
	}
	return MIN(big, little);
}

static void mark(unsigned int vcpu, void *data)
{
	uint64_t total = 0;
	guint bucket;

	(void)vcpu;
	(void)data;
	g_mutex_lock(&state.lock);
	for (bucket = 0; bucket < state.addresses->len; bucket++)
		total += qemu_plugin_u64_sum(counter(bucket));
	fprintf(state.out, "mark %" PRIu64 " total %" PRIu64 "\n", mark_number(), total);
	for (bucket = 0; bucket < state.addresses->len; bucket++) {
		uint64_t count = qemu_plugin_u64_sum(counter(bucket));

		if (count)
			fprintf(state.out, "%" PRIx64 " %" PRIu64 "\n",
				g_array_index(state.addresses, uint64_t, bucket), count);
	}
	fprintf(state.out, "end\n");
	fflush(state.out);
	g_mutex_unlock(&state.lock);
}

/* The bytes come as they are in memory, that is in the byte order of whoever executes them. */
static bool is_mark(const struct qemu_plugin_insn *insn)
{
	uint32_t word;

	if (qemu_plugin_insn_vaddr(insn) & KERNEL_ADDRESS)
		return false;
	if (qemu_plugin_insn_data(insn, &word, sizeof(word)) != sizeof(word))
		return false;
	return word == GUINT32_TO_LE(MARK) || word == GUINT32_TO_BE(MARK);
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	size_t i, count = qemu_plugin_tb_n_insns(tb);

	(void)id;
	g_mutex_lock(&state.lock);
	for (i = 0; i < count; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		qemu_plugin_u64 entry = counter(bucket_of(qemu_plugin_insn_vaddr(insn)));

		qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(insn,
			QEMU_PLUGIN_INLINE_ADD_U64, entry, 1);
		if (is_mark(insn))
			qemu_plugin_register_vcpu_insn_exec_cb(insn, mark, QEMU_PLUGIN_CB_R_REGS,
							       NULL);
	}
	g_mutex_unlock(&state.lock);
}

static void processor_started(qemu_plugin_id_t id, unsigned int vcpu)
{
	g_autoptr(GArray) registers = qemu_plugin_get_registers();
	guint i;

	(void)id;
	(void)vcpu;
	for (i = 0; i < registers->len; i++) {
		qemu_plugin_reg_descriptor *it =
			&g_array_index(registers, qemu_plugin_reg_descriptor, i);

		if (!strcmp(it->name, "r3"))
			state.r3 = it->handle;
	}
}

static bool parse(const char *argument)
{
	const char *value;

	if (g_str_has_prefix(argument, "out=")) {
		state.out = fopen(argument + 4, "w");
		if (!state.out)
			perror(argument + 4);
		return state.out;
	}
	if (g_str_has_prefix(argument, "bucket=")) {
		guint64 bytes;

		value = argument + strlen("bucket=");
		if (!g_ascii_string_to_unsigned(value, 10, 4, 1 << 20, &bytes, NULL) ||
		    bytes & (bytes - 1)) {
			fprintf(stderr, "%s is not a power of two from 4 on\n", value);
			return false;
		}
		state.mask = ~(bytes - 1);
		return true;
	}
	fprintf(stderr, "unknown argument %s\n", argument);
	return false;
}

QEMU_PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc,
					   char **argv)
{
	uint64_t overflow = OVERFLOW_ADDRESS;
	int i;

	if (strcmp(info->target_name, "ppc64")) {
		fprintf(stderr, "the mark is an instruction of ppc64, not of %s\n",
			info->target_name);
		return -1;
	}
	for (i = 0; i < argc; i++) {
		if (!parse(argv[i]))
			return -1;
	}
	if (!state.out) {
		fprintf(stderr, "the argument out=FILE is missing\n");
		return -1;
	}
	state.bucket_of = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
	state.addresses = g_array_new(FALSE, FALSE, sizeof(uint64_t));
	g_array_append_val(state.addresses, overflow);
	state.counters = qemu_plugin_scoreboard_new(MAX_BUCKETS * sizeof(uint64_t));
	qemu_plugin_register_vcpu_init_cb(id, processor_started);
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	return 0;
}
