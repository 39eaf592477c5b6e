# Quartier's commands. `make up` and `make test` install what they need.
.PHONY: help up test accept bench
.DEFAULT_GOAL := help

help:
	@echo 'make up      serve the sample city; PORT=8080 and QUARTIER_HOME=~/city may be given'
	@echo 'make test    run every check and test (under fifteen minutes)'
	@echo 'make accept  run the long acceptance suites'
	@echo 'make bench   measure the speed'

up:
	@exec scripts/up

test:
	@exec scripts/test

accept:
	@scripts/prepare --for-tests
	@scripts/client-tools
	@exec .venv/bin/pytest tests/accept -p no:xdist -s

bench:
	@scripts/prepare --for-tests
	@exec .venv/bin/python -m benchmarks
