int gora_placeholder(void);
