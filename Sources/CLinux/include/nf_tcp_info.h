/* SPDX-License-Identifier: GPL-2.0-or-later */
/* struct tcp_info of <linux/tcp.h>, which cannot stand in one module with the C library's own. */
#ifndef NF_TCP_INFO_H
#define NF_TCP_INFO_H

#include <stddef.h>
#include <stdint.h>

/* Times in microseconds unless the name says otherwise, rates in bytes a second. */
struct nf_tcp_info {
  uint8_t has_timestamps, has_sack, has_window_scale, has_ecn, has_seen_ecn;
  uint8_t send_scale, receive_scale;
  uint8_t is_application_limited;
  uint32_t backoff;
  uint32_t retransmission_timeout, ack_timeout;
  uint32_t mss, receive_mss, advertised_mss, path_mtu;
  uint32_t unacknowledged, sacked, lost, retransmitted, total_retransmissions, reordering, dsack_duplicates;
  uint32_t last_sent_ms, last_received_ms, last_ack_ms;
  uint32_t smoothed_rtt, rtt_variance, minimum_rtt;
  uint32_t slow_start_threshold, congestion_window;
  uint32_t receive_slow_start_threshold, receive_rtt, receive_space;
  uint32_t not_sent_bytes, send_window;
  uint64_t pacing_rate, maximum_pacing_rate, delivery_rate;
  uint64_t bytes_acknowledged, bytes_received, bytes_sent, bytes_retransmitted;
  uint32_t segments_sent, segments_received, data_segments_sent, data_segments_received, delivered, delivered_ce;
  uint64_t busy_time, window_limited_time, buffer_limited_time;
};

/* Reads what a kernel of any age has sent: what it did not send is 0. */
void nf_read_tcp_info(const void *bytes, size_t length, struct nf_tcp_info *info);

#endif
