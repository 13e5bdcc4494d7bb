package s2s

func (s *sender) join() bool { return false }
