package serve

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/otasim/otasim/cloud"
	"github.com/otasim/otasim/cloud/jobs"
)

// metrics is what Prometheus scrapes.
type metrics struct {
	registry  *prometheus.Registry
	requests  *prometheus.CounterVec
	throttled prometheus.Counter
	seconds   prometheus.Histogram
}

func newMetrics(s *Server) *metrics {
	m := &metrics{registry: prometheus.NewRegistry(),
		requests:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "otasim_http_requests_total", Help: "HTTP requests by method and status."}, []string{"method", "status"}),
		throttled: prometheus.NewCounter(prometheus.CounterOpts{Name: "otasim_http_throttled_total", Help: "HTTP requests refused for a quota."}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "otasim_http_request_seconds", Help: "Time from a request's header to the end of its answer.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14)})}
	m.registry.MustRegister(m.requests, m.throttled, m.seconds, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), world{s})
	return m
}

// handler answers scrapes.
func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// observe counts a request. Methods that HTTP does not know count as one.
func (m *metrics) observe(method string, a *answer, took time.Duration) {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPost, http.MethodPatch, http.MethodDelete, http.MethodOptions:
	default:
		method = "other"
	}
	m.requests.WithLabelValues(method, strconv.Itoa(a.status)).Inc()
	if strings.HasPrefix(a.Header().Get("X-Amzn-ErrorType"), "Throttling") {
		m.throttled.Inc()
	}
	m.seconds.Observe(took.Seconds())
}

// world describes the cloud and its broker at the time of a scrape.
type world struct{ s *Server }

var (
	connections = prometheus.NewDesc("otasim_mqtt_connections", "MQTT clients that are connected.", nil, nil)
	connects    = prometheus.NewDesc("otasim_mqtt_connects_total", "MQTT connections that were accepted.", nil, nil)
	refusals    = prometheus.NewDesc("otasim_mqtt_refused_total", "TLS handshakes and CONNECT packets that were refused.", nil, nil)
	messages    = prometheus.NewDesc("otasim_mqtt_packets_total", "MQTT control packets.", []string{"direction"}, nil)
	volume      = prometheus.NewDesc("otasim_mqtt_bytes_total", "Bytes of MQTT control packets.", []string{"direction"}, nil)
	metered     = prometheus.NewDesc("otasim_mqtt_metered_messages_total", "Messages in the units that AWS bills.", nil, nil)
	throttled   = prometheus.NewDesc("otasim_throttled_total", "MQTT packets dropped or refused for a quota or a slow client.", nil, nil)
	things      = prometheus.NewDesc("otasim_things", "Registered things.", nil, nil)
	jobsByState = prometheus.NewDesc("otasim_jobs", "Jobs by status.", []string{"status"}, nil)
	executions  = prometheus.NewDesc("otasim_job_executions", "Latest job executions of things by status.", []string{"status"}, nil)
)

// Describe implements prometheus.Collector.
func (world) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{connections, connects, refusals, messages, volume, metered, throttled, things, jobsByState, executions} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (w world) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	var stats cloud.Stats
	var known int
	byState := map[string]int{}
	var latest jobs.ProcessDetails
	w.s.broker.Do(func(now time.Duration) {
		c := w.s.machine.cloud
		stats, known = c.Stats(w.s.epoch.Add(now)), len(c.ListThings())
		for token, more := "", true; more; more = token != "" {
			var page []jobs.JobSummary
			var err error
			if page, token, err = c.ListJobs("", "", 250, token); err != nil {
				return
			}
			for _, j := range page {
				byState[j.Status]++
				job, err := c.DescribeJob(j.JobID)
				if err != nil {
					continue // deleted between the two
				}
				d := &job.JobProcessDetails
				latest.NumberOfQueuedThings += d.NumberOfQueuedThings
				latest.NumberOfInProgressThings += d.NumberOfInProgressThings
				latest.NumberOfSucceededThings += d.NumberOfSucceededThings
				latest.NumberOfFailedThings += d.NumberOfFailedThings
				latest.NumberOfRejectedThings += d.NumberOfRejectedThings
				latest.NumberOfTimedOutThings += d.NumberOfTimedOutThings
				latest.NumberOfCanceledThings += d.NumberOfCanceledThings
				latest.NumberOfRemovedThings += d.NumberOfRemovedThings
			}
		}
	})
	gauge(connections, float64(w.s.broker.Connections()))
	count(connects, stats.Connects)
	count(refusals, stats.Refused)
	count(messages, stats.MessagesIn, "in")
	count(messages, stats.MessagesOut, "out")
	count(volume, stats.BytesIn, "in")
	count(volume, stats.BytesOut, "out")
	count(metered, stats.Metered)
	count(throttled, stats.Throttled)
	gauge(things, float64(known))
	for status, n := range byState {
		gauge(jobsByState, float64(n), status)
	}
	for _, row := range []struct {
		status string
		things int
	}{{"QUEUED", latest.NumberOfQueuedThings}, {"IN_PROGRESS", latest.NumberOfInProgressThings}, {"SUCCEEDED", latest.NumberOfSucceededThings},
		{"FAILED", latest.NumberOfFailedThings}, {"REJECTED", latest.NumberOfRejectedThings}, {"TIMED_OUT", latest.NumberOfTimedOutThings},
		{"CANCELED", latest.NumberOfCanceledThings}, {"REMOVED", latest.NumberOfRemovedThings}} {
		gauge(executions, float64(row.things), row.status)
	}
}
