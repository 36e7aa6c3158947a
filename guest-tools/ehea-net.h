/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Guest side of the frame generator and checker in tests/src/peer/: constants that both sides must
 * agree on, and helpers that the subcommands share.
 */
#ifndef EHEA_NET_H
#define EHEA_NET_H

#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

/* Ethertype of numbered frames: local experimental Ethertype 1 of IEEE Std 802. */
#define TEST_ETHERTYPE		0x88b5
/* Ethertype of the frame that ends a series: local experimental Ethertype 2 of IEEE Std 802. */
#define END_ETHERTYPE		0x88b6

/* Largest frame without CRC: an MTU of 9000 and the Ethernet header. */
#define MAX_FRAME		9014
/* Largest fragment count of a socket buffer in a kernel with the default MAX_SKB_FRAGS. */
#define MAX_FRAGMENTS		17
/* Largest fragment count for which a kernel can be configured. */
#define MOST_FRAGMENTS		45

/* Length in bytes of what precedes the pattern: magic, stream, sequence number, length. */
#define PAYLOAD_HEADER		18
#define PAYLOAD_MAGIC		0x65484541u	/* "eHEA" */

/* Fills a payload of len >= PAYLOAD_HEADER bytes; see tests/src/peer/pattern.rs. */
void pattern_fill(uint8_t *payload, size_t len, uint32_t stream, uint64_t seq);

/* Returns the next pseudo-random number of the generator with this state (splitmix64). */
uint64_t splitmix64(uint64_t *state);

/* Prints a message with the reason in errno and exits with status 1. */
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Parses a number with any C prefix; exits with a message if the text is not a number. */
uint64_t parse_number(const char *text);

/* Opens a packet socket that sees frames of one Ethertype on one interface. */
int packet_socket(const char *interface, uint16_t ethertype);

/* Parses an Ethernet address. */
void parse_address(const char *text, uint8_t address[6]);

/* Reads an interface's own address. */
void interface_address(int fd, const char *interface, uint8_t address[6]);

/* Lets a socket buffer size bytes in each direction, regardless of the system's limits. */
void socket_buffers(int fd, int size);

/* Returns the number of bytes that a socket has handed down and that are not sent yet. */
int socket_outstanding(int fd);

/* Counts the pages of an area of memory whose physical addresses are in [low, high). */
size_t pages_inside(const void *area, size_t size, uint64_t low, uint64_t high);

/*
 * Continues in a new process in the background, where SIGTERM sets "stopped". Prints the new process
 * id and ends the old process. The file "report" is removed; open_report() makes it.
 */
void go_to_background(const char *report);
FILE *open_report(const char *path);
extern volatile sig_atomic_t stopped;

/* Subcommands; argv[0] is the subcommand's name. They return the exit status. */
int cmd_connector(int argc, char **argv);
int cmd_reflect(int argc, char **argv);
int cmd_blast(int argc, char **argv);
int cmd_fragments(int argc, char **argv);
int cmd_hold(int argc, char **argv);
int cmd_pieces(int argc, char **argv);
int cmd_flows(int argc, char **argv);
int cmd_offload(int argc, char **argv);
int cmd_vnet(int argc, char **argv);
int cmd_odd(int argc, char **argv);
int cmd_watch(int argc, char **argv);
int cmd_multicast(int argc, char **argv);
int cmd_kdump(int argc, char **argv);
int cmd_kexec(int argc, char **argv);
int cmd_sendpages(int argc, char **argv);
int cmd_senddatagrams(int argc, char **argv);
int cmd_receive(int argc, char **argv);
int cmd_soak(int argc, char **argv);
int cmd_await(int argc, char **argv);
int cmd_mark(int argc, char **argv);
int cmd_queues(int argc, char **argv);

#endif /* EHEA_NET_H */
