int gora_placeholder(void) { return 0; }
