# The methods as rows of comparison.mk, for methods.mk and sweep.mk. The makefile that includes this says
#   PAPER_RATE, ADALORA_RATE      the protocol's rates of A; - for none
#   RATIO                         rate of B over that of A in LoRA+ and GoRA
#   RANK_RANGE                    of GoRA's ranks
#   ADALORA_RANK, EVA_COMPONENTS  AdaLoRA's first rank; inputs' components that EVA's ranks are shared out among

# The rows, each by what it changes of these (comparison.mk says what the keys mean).
DEFAULTS = gradient=none metric=sensitivity ranks=uniform scaling=lora method=lora adapter=lora gamma=- a=- rule=- ratio=1 \
  rate=$(PAPER_RATE)
GORA = gradient=$(STEPS) ranks=$(RANK_RANGE) scaling=rslora method=gora gamma=$(GAMMA) a=kaiming ratio=$(RATIO)
ROW_lora :=
ROW_full := method=full
ROW_rslora := scaling=rslora
ROW_lora-plus = ratio=$(RATIO)
ROW_dora := adapter=dora
ROW_olora := method=olora
ROW_pissa := method=pissa
ROW_milora := method=milora
ROW_lora-ga = gradient=$(STEPS) scaling=rslora method=lora-ga
ROW_lora-one = gradient=$(STEPS) scaling=rslora method=lora-one
ROW_eva := gradient=inputs metric=explained-variance ranks=eva scaling=constant method=eva
ROW_adalora = ranks=uniform-$(ADALORA_RANK) method=adalora adapter=adalora rule=adalora rate=$(ADALORA_RATE)
ROW_lora-fa := rule=lora-fa
ROW_lora-pro := scaling=rslora rule=lora-pro
ROW_lora-pro-light := scaling=rslora rule=lora-pro-light
ROW_soap := scaling=rslora rule=soap
ROW_head-start-adamw = gradient=explored scaling=rslora method=head-start rule=adamw
ROW_head-start = gradient=explored scaling=rslora method=head-start
ROW_gora = $(GORA)
ROW_gora-dora = $(GORA) adapter=dora
ROW_gora-fa = $(GORA) rule=lora-fa
ALL_METHODS := lora full rslora lora-plus dora olora pissa milora lora-ga lora-one eva adalora lora-fa lora-pro lora-pro-light \
  soap head-start-adamw head-start gora gora-dora gora-fa

# What EVA looks at in place of gradients.
GRADIENT_inputs = --collect inputs --input-components $(EVA_COMPONENTS) --steps $(STEPS)
