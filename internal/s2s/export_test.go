package s2s

import "time"

// EndExpired is what Sweep does about certificates.
func (s *Server) EndExpired(now time.Time) { s.endExpired(now) }
