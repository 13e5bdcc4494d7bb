package s2s

import "time"

// EndExpired is what Sweep does about certificates.
func (s *Server) EndExpired(now time.Time) { s.endExpired(now) }

// Window is how many stanzas may be under way to a peer that does not resume.
const Window = window
