package bucket

import (
	"net/http"
	"strings"
	"sync"

	"github.com/otasim/otasim/cloud/quota"
)

// rates are the request rates of one bucket prefix: what a key has up to its
// last slash.
type rates struct{ puts, gets quota.Rate }

// limiter holds the rates of all prefixes. It is safe for concurrent use.
type limiter struct {
	mu         sync.Mutex
	puts, gets int64
	prefixes   map[string]*rates
	forgotten  rates // peaks of those that were forgotten
}

// maxPrefixes bounds the memory of a limiter; beyond it all is forgotten.
const maxPrefixes = 4096

// Limit bounds changes and reads per second and prefix; more are answered with
// 503 SlowDown. 0 is no bound.
func (s *Service) Limit(puts, gets int64) {
	s.limiter.mu.Lock()
	defer s.limiter.mu.Unlock()
	s.limiter.puts, s.limiter.gets, s.limiter.prefixes = puts, gets, map[string]*rates{}
}

func (l *limiter) allow(now int64, method, bucket, key string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	read := method == http.MethodGet || method == http.MethodHead
	if read && l.gets == 0 || !read && l.puts == 0 || key == "" {
		return true
	}
	prefix := bucket + "/" + key[:strings.LastIndexByte(key, '/')+1]
	r := l.prefixes[prefix]
	if r == nil {
		if len(l.prefixes) >= maxPrefixes {
			l.forgotten.puts.Peak, l.forgotten.gets.Peak = l.peaks()
			clear(l.prefixes)
		}
		r = &rates{quota.Rate{PerSecond: l.puts}, quota.Rate{PerSecond: l.gets}}
		l.prefixes[prefix] = r
	}
	if read {
		return r.gets.Allow(now)
	}
	return r.puts.Allow(now)
}

// peaks are those of the busiest prefix; mu is held.
func (l *limiter) peaks() (puts, gets quota.Peak) {
	puts, gets = l.forgotten.puts.Peak, l.forgotten.gets.Peak
	for _, r := range l.prefixes {
		puts, gets = puts.And(r.puts.Peak), gets.And(r.gets.Peak)
	}
	return puts, gets
}

// Uses adds what was used of the bucket's quotas.
func (s *Service) Uses(out map[quota.Name]quota.Peak) {
	s.limiter.mu.Lock()
	defer s.limiter.mu.Unlock()
	out[quota.S3Puts], out[quota.S3Gets] = s.limiter.peaks()
}
