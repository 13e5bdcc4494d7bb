package server

// AlertAdmins is what the certificates alert by.
func (s *Server) AlertAdmins(domain, text string) { s.alertAdmins(domain, text) }
