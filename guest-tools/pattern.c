// SPDX-License-Identifier: GPL-2.0
/*
 * The content of a numbered payload. Every byte depends on the stream, the sequence number and its
 * position. A piece that is lost, moved, repeated or taken from another frame is therefore detected.
 */
#include <endian.h>
#include <string.h>

#include "ehea-net.h"

uint64_t splitmix64(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

void pattern_fill(uint8_t *payload, size_t len, uint32_t stream, uint64_t seq)
{
	uint64_t state = seq ^ ((uint64_t)stream << 32);
	uint32_t magic = htobe32(PAYLOAD_MAGIC);
	uint32_t stream_be = htobe32(stream);
	uint64_t seq_be = htobe64(seq);
	uint16_t len_be = htobe16(len);
	size_t at;

	memcpy(payload, &magic, 4);
	memcpy(payload + 4, &stream_be, 4);
	memcpy(payload + 8, &seq_be, 8);
	memcpy(payload + 16, &len_be, 2);
	for (at = PAYLOAD_HEADER; at < len; at += 8) {
		uint64_t word = htole64(splitmix64(&state));

		memcpy(payload + at, &word, len - at < 8 ? len - at : 8);
	}
}
