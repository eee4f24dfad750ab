"""The command `evaluate`: a bag in, report.json with its pictures, timing.json, the page and the recording out."""
import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np

from diffusion_planner.config import ConfigError
from diffusion_planner.data import bags, mapping as mappings
from diffusion_planner.data.ingest_reward import read_intervals
from diffusion_planner.evaluation import bag_judgements, bag_motion
from diffusion_planner.evaluation.assembly import load_objective, load_planner
from diffusion_planner.evaluation.bag_gallery import Gallery
from diffusion_planner.evaluation.bag_moments import moment_of
from diffusion_planner.evaluation.bag_recording import Extremes
from diffusion_planner.evaluation.bag_statistics import histogram, plain, spread
from diffusion_planner.evaluation.bag_topics import EvaluationError, Topics
from diffusion_planner.evaluation.bag_verdict import verdict
from diffusion_planner.evaluation.bag_walk import Walk, WalkSettings
from diffusion_planner.evaluation.stages import Stages
from diffusion_planner.records import Goal
