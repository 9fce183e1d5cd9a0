/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "nf_tcp_info.h"

#include <linux/tcp.h>
#include <string.h>

void nf_read_tcp_info(const void *bytes, size_t length, struct nf_tcp_info *info) {
  struct tcp_info from;
  memset(&from, 0, sizeof from);
  memcpy(&from, bytes, length < sizeof from ? length : sizeof from);
  *info = (struct nf_tcp_info){
      .has_timestamps = (from.tcpi_options & TCPI_OPT_TIMESTAMPS) != 0,
      .has_sack = (from.tcpi_options & TCPI_OPT_SACK) != 0,
      .has_window_scale = (from.tcpi_options & TCPI_OPT_WSCALE) != 0,
      .has_ecn = (from.tcpi_options & TCPI_OPT_ECN) != 0,
      .has_seen_ecn = (from.tcpi_options & TCPI_OPT_ECN_SEEN) != 0,
      .send_scale = from.tcpi_snd_wscale,
      .receive_scale = from.tcpi_rcv_wscale,
      .is_application_limited = from.tcpi_delivery_rate_app_limited,
      .backoff = from.tcpi_backoff,
      .retransmission_timeout = from.tcpi_rto,
      .ack_timeout = from.tcpi_ato,
      .mss = from.tcpi_snd_mss,
      .receive_mss = from.tcpi_rcv_mss,
      .advertised_mss = from.tcpi_advmss,
      .path_mtu = from.tcpi_pmtu,
      .unacknowledged = from.tcpi_unacked,
      .sacked = from.tcpi_sacked,
      .lost = from.tcpi_lost,
      .retransmitted = from.tcpi_retrans,
      .total_retransmissions = from.tcpi_total_retrans,
      .reordering = from.tcpi_reordering,
      .dsack_duplicates = from.tcpi_dsack_dups,
      .last_sent_ms = from.tcpi_last_data_sent,
      .last_received_ms = from.tcpi_last_data_recv,
      .last_ack_ms = from.tcpi_last_ack_recv,
      .smoothed_rtt = from.tcpi_rtt,
      .rtt_variance = from.tcpi_rttvar,
      .minimum_rtt = from.tcpi_min_rtt,
      .slow_start_threshold = from.tcpi_snd_ssthresh,
      .congestion_window = from.tcpi_snd_cwnd,
      .receive_slow_start_threshold = from.tcpi_rcv_ssthresh,
      .receive_rtt = from.tcpi_rcv_rtt,
      .receive_space = from.tcpi_rcv_space,
      .not_sent_bytes = from.tcpi_notsent_bytes,
      .send_window = from.tcpi_snd_wnd,
      .pacing_rate = from.tcpi_pacing_rate,
      .maximum_pacing_rate = from.tcpi_max_pacing_rate,
      .delivery_rate = from.tcpi_delivery_rate,
      .bytes_acknowledged = from.tcpi_bytes_acked,
      .bytes_received = from.tcpi_bytes_received,
      .bytes_sent = from.tcpi_bytes_sent,
      .bytes_retransmitted = from.tcpi_bytes_retrans,
      .segments_sent = from.tcpi_segs_out,
      .segments_received = from.tcpi_segs_in,
      .data_segments_sent = from.tcpi_data_segs_out,
      .data_segments_received = from.tcpi_data_segs_in,
      .delivered = from.tcpi_delivered,
      .delivered_ce = from.tcpi_delivered_ce,
      .busy_time = from.tcpi_busy_time,
      .window_limited_time = from.tcpi_rwnd_limited,
      .buffer_limited_time = from.tcpi_sndbuf_limited,
  };
}
