package push

import (
	"container/heap"
	"sync"
	"time"
)

const (
	// maxJobs bounds the services for which something is to be done; what is beyond waits for the sweep.
	maxJobs = 50000
	// maxSending and maxPerTarget bound the notifications that are under way, in all and to one app server or push service,
	// so that one that does not answer leaves room for the others.
	maxSending, maxPerTarget = 256, 32
	// firstRetry and lastRetry bound the time between two attempts.
	firstRetry, lastRetry = 30 * time.Second, 6 * time.Hour
)

// news is what there is to tell.
type news struct {
	messages, requests bool
	// check is the number of messages that a client which was there has not acknowledged, perhaps.
	check        int
	sender, body string // of the last message, as far as the configuration wants it told
	mark         uint64 // of the last message
}

func (n news) none() bool { return !n.messages && !n.requests && n.check == 0 }

func (n *news) add(m news) {
	if m.messages || m.check > 0 {
		n.sender, n.body, n.mark = m.sender, m.body, m.mark
	}
	n.messages = n.messages || m.messages
	n.requests = n.requests || m.requests
	n.check += m.check
}

// job is what is to be done for a service. One with nothing to tell stays until its time, so that what comes next is not
// told too soon.
type job struct {
	key     key
	at      time.Time // when it is due
	floor   time.Time // not before: the last one was not long ago, or has failed
	news    news
	sending bool
	started news // what is under way
	// failures in a row.
	failures int
	index    int // in the queue, or -1
}

// queue is a heap of jobs by time.
type queue []*job

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].at.Before(q[j].at) }

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *queue) Push(x any) {
	jb := x.(*job)
	jb.index = len(*q)
	*q = append(*q, jb)
}

func (q *queue) Pop() any {
	old := *q
	n := len(old) - 1
	jb := old[n]
	old[n] = nil
	*q, jb.index = old[:n], -1
	return jb
}

// result is what became of a notification.
type result struct {
	key key
	// told is the number of messages that the service acknowledged.
	told int
	// permanent is why the service is given up.
	permanent string
	// transient is why it is tried again.
	transient string
	// mark is that of the message for which it was sent.
	mark uint64
	// seen says that its client is there: nothing waits any more. It is the result of no notification.
	seen bool
}

// jobs are the notifications that are due, under way, or wait for their time.
type jobs struct {
	wake chan struct{}

	mu      sync.Mutex
	m       map[key]*job
	queue   queue             // those that wait for their time
	blocked map[string][]*job // those that wait for their target
	sending map[string]int    // by target
	all     int
	results []result
}

func (j *jobs) init() {
	j.wake = make(chan struct{}, 1)
	j.m, j.sending, j.blocked = make(map[key]*job), make(map[string]int), make(map[string][]*job)
}

func (j *jobs) signal() {
	select {
	case j.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// add notes something for a service, which is due at a time or, where the last notification is not long ago, later.
func (j *jobs) add(k key, at time.Time, n news) {
	j.mu.Lock()
	defer j.mu.Unlock()
	jb := j.m[k]
	if jb == nil {
		if len(j.m) >= maxJobs {
			return
		}
		jb = &job{key: k, at: at}
		j.m[k] = jb
		heap.Push(&j.queue, jb)
	}
	if at.Before(jb.floor) {
		at = jb.floor
	}
	if jb.index >= 0 && (jb.news.none() || at.Before(jb.at)) {
		jb.at = at
		heap.Fix(&j.queue, jb.index)
	}
	jb.news.add(n)
	j.signal()
}

// has tells whether something is to be done for a service, or was of late.
func (j *jobs) has(k key) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.m[k] != nil
}

// forget drops what is to be told to a service and what is known of it: it was disabled or enabled, or its client is there.
func (j *jobs) forget(k key, now time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	jb := j.m[k]
	if jb == nil {
		return
	}
	jb.news, jb.failures, jb.floor = news{}, 0, time.Time{}
	if jb.index >= 0 {
		jb.at = now
		heap.Fix(&j.queue, jb.index)
	}
}

// seen drops what is to be told to a service whose client is there, and has that written down. What comes after the call is
// told, however late the writing is.
func (j *jobs) seen(k key, now time.Time) {
	j.forget(k, now)
	j.done(result{key: k, seen: true})
}

// certain ends the doubt about messages: those that the client has not got are counted.
func (j *jobs) certain(k key) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if jb := j.m[k]; jb != nil {
		jb.news.check = 0
	}
}

// done hands in a result, from any goroutine, without waiting.
func (j *jobs) done(r result) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.results = append(j.results, r)
	j.signal()
}

// take returns the results since the last call.
func (j *jobs) take() []result {
	j.mu.Lock()
	defer j.mu.Unlock()
	rs := j.results
	j.results = nil
	return rs
}

// started is a notification that begins.
type started struct {
	key  key
	news news
}

// start returns what is due and may be sent now, and when to look again; a zero time for no need to.
func (j *jobs) start(now time.Time) (due []started, next time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for len(j.queue) > 0 {
		jb := j.queue[0]
		if now.Before(jb.at) {
			return due, jb.at
		}
		if j.all >= maxSending { // a result makes room, and wakes
			return due, time.Time{}
		}
		heap.Pop(&j.queue)
		switch t := target(jb.key); {
		case jb.news.none():
			delete(j.m, jb.key)
		case j.sending[t] >= maxPerTarget:
			j.blocked[t] = append(j.blocked[t], jb)
		default:
			jb.sending, jb.started, jb.news = true, jb.news, news{}
			j.all++
			j.sending[t]++
			due = append(due, started{jb.key, jb.started})
		}
	}
	return due, time.Time{}
}

// finish takes the result of a notification into account and returns how often in a row the service has failed by now.
func (j *jobs) finish(r result, now time.Time, every time.Duration) (failures int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	jb := j.m[r.key]
	if jb == nil || !jb.sending {
		return 0
	}
	jb.sending = false
	j.all--
	t := target(r.key)
	if j.sending[t]--; j.sending[t] == 0 {
		delete(j.sending, t)
	}
	if waiting := j.blocked[t]; len(waiting) > 0 {
		heap.Push(&j.queue, waiting[0])
		if j.blocked[t] = waiting[1:]; len(waiting) == 1 {
			delete(j.blocked, t)
		}
	}
	jb.at = now.Add(every)
	switch {
	case r.permanent == "" && r.transient == "" && r.told == 0: // there was nothing to tell after all
		jb.at, jb.failures = now, 0
	case r.permanent != "":
		jb.news, jb.failures = news{}, 0
	case r.transient != "":
		jb.failures++
		n := jb.started
		n.add(jb.news)
		jb.news = n
		jb.at = now.Add(min(firstRetry<<min(jb.failures-1, 20), lastRetry))
	default:
		jb.failures = 0
	}
	jb.floor = jb.at
	heap.Push(&j.queue, jb)
	return jb.failures
}
