/*
 * The report as Prometheus text, for node_exporter's textfile collector or a push gateway.
 *
 * Every run writes all of it anew: all are gauges, of this run alone, and no sample has a timestamp
 * (the collector refuses them). Names and labels are only ever added to:
 *
 *     basewarm_build_info{version}                     1
 *     basewarm_start_time_seconds                      when the run began, in Unix time
 *     basewarm_duration_seconds                        how long it took
 *     basewarm_exit_code                               what it exits with
 *     basewarm_images{result}                          how many images were pulled, renewed, fresh,
 *                                                      stale, planned, failed
 *     basewarm_failures{error}                         of the failed: not_found, transient, ...
 *                                                      only those that there were
 *     basewarm_fetched_bytes, basewarm_reused_bytes    bytes over the network, bytes that were
 * there basewarm_requests{kind}                          head, manifest, blob, token
 *     basewarm_image_warm{reference,platform}          1 when it is warm, 0 when it is not
 *     basewarm_image_fetched_bytes{reference,platform}
 *     basewarm_image_duration_seconds{reference,platform}
 *
 * and, when the run pruned,
 *
 *     basewarm_pruned_entries{reason}                  how much was removed: leftover, partial,
 *     basewarm_pruned_bytes{reason}                    expired, superseded, unused, and, what
 *                                                      running builds may miss, evicted
 *     basewarm_limits_met                              1, or 0 when --max-size or --min-free is not
 */
#pragma once

#include "report.h"

/* Write them, by a rename. */
int metrics_write(struct report *r, const struct report_run *run, const char *path,
                  struct error *err);
