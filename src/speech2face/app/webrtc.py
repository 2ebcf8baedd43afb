"""WebRTC."""
from fastapi import APIRouter

router = APIRouter()
