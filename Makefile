# make setup | sim | test | build      options of the program go in ARGS: make sim ARGS='--episodes 20'
#
# TORCH  a torch of your choice, installed before the pins are read, for instance a CUDA wheel:
#        make setup TORCH='torch==2.13.0+cu130'      (where pip looks for wheels is pip's own configuration)
# PYTHON the interpreter that .venv is made from

PYTHON ?= python3
TORCH ?=
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -qq

# A sourced ROS 2 outside any virtual environment; a .venv that is active has rclpy too, but is not it.
ROS := $(shell $(PYTHON) -c 'import sys, rclpy; print("sourced" * (sys.prefix == sys.base_prefix))' 2>/dev/null)

# The stamp's name says what was installed and where, so that a change of either sets up again.
KEY := $(shell (cat requirements.txt requirements-ros.txt setup.py setup.cfg; echo '$(CURDIR)' '$(ROS)' '$(TORCH)') | cksum | cut -d' ' -f1)
MODE := $(if $(ROS),ros,wheels)
READY := $(VENV)/.ready-$(MODE)-$(KEY)

# Nothing of ours may reach a robot on the same network, and wrong message fields are errors in tests.
test: export ROS_AUTOMATIC_DISCOVERY_RANGE := LOCALHOST
test: export ROS_PYTHON_CHECK_FIELDS := 1

.DEFAULT_GOAL := setup
.PHONY: setup sim test build

setup: $(READY)
	@:

sim: setup
	$(BIN)/diffusion-planner sim $(ARGS)

test: setup
	$(BIN)/python $(if $(strip $(ARGS)),-m pytest $(ARGS),test/halves.py)

build: setup
	$(BIN)/python -m colcon build --packages-select diffusion_planner $(ARGS)

# Without a stamp of this mode the last setup was cut off, and half-installed packages look whole to pip: start afresh.
$(READY):
	@echo 'setting up $(VENV)$(if $(ROS), on the sourced ROS 2), a few minutes the first time'
	@ls $(VENV)/.ready-$(MODE)-* >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(if $(ROS),--system-site-packages) $(VENV)
	@rm -f $(VENV)/.ready-*
	@$(if $(TORCH),$(PIP) '$(TORCH)')
ifeq ($(ROS),sourced)
	@# The messages of a ROS distribution are compiled against its numpy: hold that, and let pip find what fits.
	@$(PYTHON) -c 'import numpy; print("numpy==" + numpy.__version__)' > $(VENV)/constraints.txt
	@grep '^torch==' requirements.txt >> $(VENV)/constraints.txt
	@$(PIP) 'setuptools>=77' -c $(VENV)/constraints.txt
	@$(PIP) --use-pep517 --no-build-isolation -c $(VENV)/constraints.txt -e '.[train,bags,lerobot,rerun,ray,onnx,export,benchmark,test]'
else
	@$(PIP) -r requirements.txt -r requirements-ros.txt
	@$(PIP) --use-pep517 --no-build-isolation --no-deps -e .
endif
	@touch $@
