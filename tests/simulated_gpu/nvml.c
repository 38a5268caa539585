/* NVIDIA's management library with one made-up H100, for pynvml to load as libnvidia-ml.so.1.
 *
 * The card multiplies matrices under a power limit: it takes the highest clock, in steps of 15 MHz,
 * at which it draws no more. Its truth, which a calibration has to find out: dynamic power is
 * proportional to clock and voltage squared, the voltage rises with the clock above a knee, and a
 * hot card leaks (see TRUTH below). What happens to it stands in the folder SIMULATED_NVML, one
 * file each, so that a test can look and interfere while something else runs:
 *   limit      the limit in force, mW
 *   idle       it has nothing to do
 *   forbidden  limits may not be set
 *   fixed      it has no limits that could be set
 *   uncounted  it does not count its energy
 *   lost       it has fallen off the bus
 */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { OK, UNINITIALIZED, INVALID, UNSUPPORTED, FORBIDDEN, NOT_FOUND = 6, LOST = 15 };

static const char UUID[] = "GPU-5331a1e5-0000-4000-8000-000000000001";
static const double LOWEST = 200e3, HIGHEST = 700e3, TOP = 1980;

/* TRUTH: W that no clock moves and W at the top clock, voltage floor and knee; K per W, leakage in W per K. */
static const double STILL = 70, FULL = 980, FLOOR = 0.7, KNEE = 0.5;
static const double AMBIENT = 30, WARMTH = 0.06, LEAK = 0.15, COOL = 60;

static int started;

static FILE *file(const char *name, const char *mode) {
  char path[4096];
  const char *folder = getenv("SIMULATED_NVML");
  snprintf(path, sizeof path, "%s/%s", folder ? folder : ".", name);
  return fopen(path, mode);
}

static int is(const char *name) {
  FILE *found = file(name, "r");
  if (found) fclose(found);
  return found != NULL;
}

static double limit_mw(void) {
  double value = HIGHEST;
  FILE *found = file("limit", "r");
  if (found) {
    if (fscanf(found, "%lf", &value) != 1) value = HIGHEST;
    fclose(found);
  }
  return value;
}

static double watts_at(double clock) {
  const double slope = (1 - FLOOR) / (1 - KNEE);
  const double v = fmax(FLOOR, 1 - slope * (1 - clock));
  const double cold = STILL + (FULL - STILL) * clock * v * v;
  /* Leakage follows the temperature, and this the power: solved for where they agree. */
  return (cold + LEAK * (AMBIENT - COOL)) / (1 - LEAK * WARMTH);
}

static double clock_mhz(void) {
  double clock = TOP;
  if (is("idle")) return 345;
  while (clock > 210 && watts_at(clock / TOP) > limit_mw() / 1e3) clock -= 15;
  return clock;
}

static double watts(void) {
  static unsigned noise = 1;
  noise = noise * 1664525u + 1013904223u;
  const double off = (noise >> 16) / 65536.0 * 6 - 3;
  return (is("idle") ? 70 : watts_at(clock_mhz() / TOP)) + off;
}

static int fault(void) {
  if (!started) return UNINITIALIZED;
  return is("lost") ? LOST : OK;
}

int nvmlInitWithFlags(unsigned flags) { (void)flags; return started = 1, OK; }
int nvmlInit_v2(void) { return started = 1, OK; }
int nvmlShutdown(void) { return started = 0, OK; }

const char *nvmlErrorString(int code) {
  switch (code) {
    case UNSUPPORTED: return "Not Supported";
    case FORBIDDEN: return "Insufficient Permissions";
    case NOT_FOUND: return "Not Found";
    case LOST: return "GPU is lost";
    default: return "Unknown Error";
  }
}

int nvmlDeviceGetCount_v2(unsigned *count) { return *count = 1, OK; }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
  if (index != 0) return INVALID;
  return *device = (void *)UUID, OK;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, void **device) {
  if (strcmp(uuid, UUID) != 0) return NOT_FOUND;
  return *device = (void *)UUID, OK;
}

int nvmlDeviceGetPowerUsage(void *device, unsigned *milliwatts) {
  (void)device;
  if (fault()) return fault();
  return *milliwatts = (unsigned)(watts() * 1e3), OK;
}

int nvmlDeviceGetClockInfo(void *device, unsigned kind, unsigned *mhz) {
  (void)device;
  if (fault()) return fault();
  if (kind != 1) return UNSUPPORTED; /* the multiprocessors' is asked for */
  return *mhz = (unsigned)clock_mhz(), OK;
}

int nvmlDeviceGetPowerManagementLimit(void *device, unsigned *milliwatts) {
  (void)device;
  if (fault()) return fault();
  return *milliwatts = (unsigned)limit_mw(), OK;
}

int nvmlDeviceGetPowerManagementLimitConstraints(void *device, unsigned *low, unsigned *high) {
  (void)device;
  if (fault()) return fault();
  if (is("fixed")) return UNSUPPORTED;
  return *low = (unsigned)LOWEST, *high = (unsigned)HIGHEST, OK;
}

int nvmlDeviceSetPowerManagementLimit(void *device, unsigned milliwatts) {
  FILE *out;
  (void)device;
  if (fault()) return fault();
  if (is("fixed")) return UNSUPPORTED;
  if (is("forbidden")) return FORBIDDEN;
  if (milliwatts < LOWEST || milliwatts > HIGHEST) return INVALID;
  if (!(out = file("limit.new", "w"))) return UNSUPPORTED;
  fprintf(out, "%u", milliwatts);
  fclose(out);
  /* Whole at once: somebody may be reading. */
  char from[4096], to[4096];
  snprintf(from, sizeof from, "%s/limit.new", getenv("SIMULATED_NVML"));
  snprintf(to, sizeof to, "%s/limit", getenv("SIMULATED_NVML"));
  return rename(from, to) ? UNSUPPORTED : OK;
}

int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *millijoules) {
  static double sum, last;
  struct timespec now;
  double at;
  (void)device;
  if (fault()) return fault();
  if (is("uncounted")) return UNSUPPORTED;
  clock_gettime(CLOCK_MONOTONIC, &now);
  at = now.tv_sec + now.tv_nsec / 1e9;
  if (last > 0) sum += watts() * (at - last);
  last = at;
  return *millijoules = (unsigned long long)(1e9 + sum * 1e3), OK;
}
