#include "state/types.h"
