/* SELECT tb, srcIP, count(*) AS n, sum(len) AS bytes FROM tcp WHERE destPort = 80 GROUP BY time/1 AS tb, srcIP */
#define SECONDS 1
#include "sources.c"
