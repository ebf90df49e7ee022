/* Every form of a predict body and every way to get one wrong, with the exact words; that all forms
 * of the same rows give the same bits; that memory follows the body's length; and the answer. */
#include "server/predictor/v1.h"

#include "base/json.h"
#include "base/number.h"
#include "model/model_internal.h"
#include "tests/support/plane.h"
#include "tests/support/t.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ROWS = 6 };

/* ---- a model of any width ---- */

/* Its intervals are of level 0.25, 0.5 and 0.75 and reach as far as 1, 2 and 3. */
static struct model *make_model(const char *const *names, size_t n)
{
    static const double scores[] = {1, 2, 3};
    struct error err = {0};
    struct model_feature *features = calloc(n, sizeof *features);
    double *coefficients = calloc(n, sizeof *coefficients);
    struct model_parts parts = {.name = "m",
                                .version = "1",
                                .kind = MODEL_LINEAR,
                                .target_name = "y",
                                .target_unit = "",
                                .features = features,
                                .feature_count = n,
                                .prediction = {0, coefficients, n},
                                .interval = {false, 0, scores, 3}};
    for (size_t j = 0; j < n; j++)
        features[j] = (struct model_feature){
            names[j], {.kind = TRANSFORM_STANDARDISE, .min = 0, .max = 1, .mean = 0, .scale = 1}};
    memset(parts.card.data_sha256, '0', 64);
    struct model *model = model_new(&parts, &err);
    if (model == NULL)
        fail_msg("%s", err.message);
    free(coefficients);
    free(features);
    return model;
}

/* A model whose features are called f0, f1, ... */
static struct model *make_wide_model(size_t n)
{
    char(*names)[24] = calloc(n, sizeof *names);
    const char **list = calloc(n, sizeof *list);
    for (size_t j = 0; j < n; j++) {
        (void)snprintf(names[j], sizeof names[j], "f%zu", j);
        list[j] = names[j];
    }
    struct model *model = make_model(list, n);
    free(list);
    free(names);
    return model;
}

static struct model *make_plane(void)
{
    static const char *const names[] = {"a", "b"};
    return make_model(names, 2);
}

/* ---- decoding a text ---- */

struct decoded {
    struct arena *arena;
    struct v1_request request;
    struct error err;
    bool ok;
};

/* The body ends at an unreadable page. Released with decoded_free. */
static struct decoded decode(const struct model *model, const char *body, size_t n, size_t max_rows)
{
    struct decoded d = {.arena = arena_new(256, 0), .err = {ERR_NONE, "untouched"}};
    char *guarded = t_guarded(body, n);
    d.ok = v1_decode((struct span){guarded, n}, model, max_rows, d.arena, &d.request, &d.err);
    t_guarded_free(guarded, n);
    if (d.ok)
        assert_string_equal(d.err.message, "untouched");
    return d;
}

static void decoded_free(struct decoded *d)
{
    arena_free(d->arena);
}

static void assert_rows(const struct model *model, const char *body, size_t rows,
                        const double *values)
{
    struct decoded d = decode(model, body, strlen(body), MAX_ROWS);
    if (!d.ok)
        fail_msg("%s\n%s", body, d.err.message);
    assert_int_equal(d.request.rows, rows);
    for (size_t i = 0; i < rows * model_feature_count(model); i++)
        assert_close(d.request.x[i], values[i], 0);
    decoded_free(&d);
}

static void assert_refused(const struct model *model, const char *body, enum error_code code,
                           const char *message)
{
    struct decoded d = decode(model, body, strlen(body), MAX_ROWS);
    if (d.ok)
        fail_msg("%s\nwas accepted", body);
    if (d.err.code != code || strcmp(d.err.message, message) != 0)
        fail_msg("%s\nexpected %d %s\ngot      %d %s", body, code, message, d.err.code,
                 d.err.message);
    decoded_free(&d);
}

/* ---- what is accepted ---- */

struct form {
    const char *body;
    size_t rows;
    double values[8];
};

static const struct form forms[] = {
    /* lists */
    {"{\"instances\":[[1,2]]}", 1, {1, 2}},
    {"{\"inputs\":[[1,2]]}", 1, {1, 2}},
    {" {\n\"instances\" : [ [ 1 , 2 ] ,\t[3,4] ]\r\n} ", 2, {1, 2, 3, 4}},
    {"{\"instances\":[[-0.0,1e-400],[1E+2,5e-324]]}", 2, {-0.0, 0, 100, 5e-324}},
    /* cells that are not numbers */
    {"{\"instances\":[[\"5.1\",\" +.5 \"],[\"-1e3\",\"07.\"]]}", 2, {5.1, 0.5, -1000, 7}},
    {"{\"instances\":[[\"\\u0035.1\",\"1\\u00652\"]]}", 1, {5.1, 100}},
    {"{\"instances\":[[true,false],[1,true]]}", 2, {1, 0, 1, 1}},
    /* which member counts */
    {"{\"instances\":[[1,2]],\"inputs\":[[3,4]]}", 1, {3, 4}},
    {"{\"inputs\":[[3,4]],\"instances\":[[1,2]]}", 1, {3, 4}},
    {"{\"inputs\":[[3,4]],\"instances\":[[null]]}", 1, {3, 4}},
    {"{\"instances\":[[1,2]],\"instances\":[[3,4]]}", 1, {3, 4}},
    {"{\"instances\":7,\"instances\":[[\"3\",4]]}", 1, {3, 4}},
    {"{\"instances\":[[9]],\"inputs\":0,\"inputs\":[[3,4]]}", 1, {3, 4}},
    {"{\"\\u0069nputs\":[[3,4]],\"instances\":[[1,2]]}", 1, {3, 4}},
    {"{\"instances\":[[1,2]],\"inst\\u0061nces\":[[3,4]]}", 1, {3, 4}},
    /* members that do not */
    {"{\"signature_name\":\"s\",\"instances\":[[1,2]],\"x\":{\"y\":[null,{}]}}", 1, {1, 2}},
    {"{\"\":1e400,\"\\u0000\":0,\"instances\\u0000\":0,\"instances\":[[1,2]]}", 1, {1, 2}},
    {"{\"instance\":0,\"instances2\":0,\"Inputs\":0,\"instances\":[[1,2]]}", 1, {1, 2}},
    /* by name */
    {"{\"instances\":[{\"a\":1,\"b\":2}]}", 1, {1, 2}},
    {"{\"instances\":[{\"b\":2,\"a\":1},{\"a\":\"3\",\"b\":true}]}", 2, {1, 2, 3, 1}},
    {"{\"instances\":[{\"\\u0062\":2,\"\\u0061\":1}]}", 1, {1, 2}},
    {"{\"instances\":[{\"a\":1,\"b\":2,\"a\":3}]}", 1, {3, 2}},
    {"{\"instances\":[{\"a\":null,\"b\":[],\"a\":3,\"b\":4}]}", 1, {3, 4}},
    {"{\"instances\":[[{\"a\":1,\"b\":2}]]}", 1, {1, 2}},
    {"{\"instances\":[[{\"a\":1,\"b\":2},{\"b\":4,\"a\":3}],[{\"a\":5,\"b\":6}]]}",
     3,
     {1, 2, 3, 4, 5, 6}},
    /* lists by name */
    {"{\"instances\":[{\"a\":[1],\"b\":[2]}]}", 1, {1, 2}},
    {"{\"instances\":[{\"a\":[1,3,\"5\"],\"b\":[2,4,false]}]}", 3, {1, 2, 3, 4, 5, 0}},
    {"{\"instances\":[{\"b\":[2,4],\"a\":[1,3]},{\"a\":[5],\"b\":[6]}]}", 3, {1, 2, 3, 4, 5, 6}},
    {"{\"instances\":[{\"a\":[1],\"b\":[2],\"a\":[1,3],\"b\":[2,4]}]}", 2, {1, 2, 3, 4}},
    {"{\"instances\":[{\"a\":[],\"b\":[]},{\"a\":[1],\"b\":[2]}]}", 1, {1, 2}},
    /* the ways to write a row by name, side by side */
    {"{\"instances\":[{\"a\":1,\"b\":2},[{\"a\":3,\"b\":4}],[],{\"a\":[5,7],\"b\":[6,8]}]}",
     4,
     {1, 2, 3, 4, 5, 6, 7, 8}},
};

static void decode_accepts_every_form(void **state)
{
    (void)state;
    struct model *model = make_plane();
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        assert_rows(model, forms[i].body, forms[i].rows, forms[i].values);
    model_free(model);
}

/* An escape in the key keeps the fast path away. */
static void decode_gives_the_same_bits_on_the_slow_path(void **state)
{
    (void)state;
    static const char fast[] = "{\"instances\":", slow[] = "{\"\\u0069nstances\":";
    struct model *model = make_plane();
    char body[256];
    size_t tried = 0;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        if (strncmp(forms[i].body, fast, sizeof fast - 1) != 0)
            continue;
        (void)snprintf(body, sizeof body, "%s%s", slow, forms[i].body + sizeof fast - 1);
        assert_rows(model, body, forms[i].rows, forms[i].values);
        tried++;
    }
    assert_true(tried > 15);
    model_free(model);
}

/* ---- what is not JSON ---- */

static const char *const malformed[] = {
    " ",
    "x",
    "[1,",
    "[1] 2",
    "nul",
    "\xef\xbb\xbf{\"instances\":[[1,2]]}",
    "{\"instances\":[[1,2]]",
    "{\"instances\":[[1,2]]}x",
    "{\"instances\":[[1,2]],}",
    "{\"instances\":[[1,2],]}",
    "{\"instances\":[[1,2,]]}",
    "{\"instances\":[[1,02]]}",
    "{\"instances\":[[1,2.]]}",
    "{\"instances\":[[1,.5]]}",
    "{\"instances\":[[1,+5]]}",
    "{\"instances\":[[1,NaN]]}",
    "{\"instances\":[[1,-Infinity]]}",
    "{\"instances\":[[1,2] [3,4]]}",
    "{\"instances\" [[1,2]]}",
    "{instances:[[1,2]]}",
    "{\"instances\":[[1,2]],\"x\":\"\t\"}",
    "{\"instances\":[[1,2]],\"x\":\"\xff\"}",
    "{\"instances\":[[1,2]],\"x\":\"\\q\"}",
    "{\"instances\":[[1,2]],\"x\":\"\\ud800\"}",
    /* what comes before is of the wrong shape, but that is said about JSON only */
    "{\"instances\":7,}",
    "{\"instances\":[[null,2],[1,02]]}",
    "{\"instances\":[[1e400,\"x\"],[1,2]}",
    "{\"instances\":[{\"foo\":1}],\"inputs\":[[1,2]",
};

static void decode_refuses_what_is_not_json_in_kserves_words(void **state)
{
    (void)state;
    static const char start[] = "Unrecognized request format: byte ";
    struct model *model = make_plane();
    for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++) {
        struct decoded d = decode(model, malformed[i], strlen(malformed[i]), MAX_ROWS);
        assert_false(d.ok);
        assert_int_equal(d.err.code, ERR_INVALID);
        if (strncmp(d.err.message, start, sizeof start - 1) != 0)
            fail_msg("%s\n%s", malformed[i], d.err.message);
        decoded_free(&d);
    }
    model_free(model);
}

static void decode_refuses_every_body_that_is_cut_short(void **state)
{
    (void)state;
    struct model *model = make_plane();
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        size_t n = strlen(forms[i].body);
        while (n > 0 && forms[i].body[n - 1] != '}')
            n--;
        for (size_t cut = 0; cut < n; cut++) {
            struct decoded d = decode(model, forms[i].body, cut, MAX_ROWS);
            assert_false(d.ok);
            assert_int_equal(d.err.code, ERR_INVALID);
            assert_contains(d.err.message, "Unrecognized request format: ");
            decoded_free(&d);
        }
    }
    model_free(model);
}

static void decode_refuses_nesting_beyond_the_limit(void **state)
{
    (void)state;
    static const char *const before[] = {"", "{\"instances\":", "{\"x\":"};
    struct model *model = make_plane();
    char body[1024];
    for (size_t i = 0; i < 3; i++) {
        size_t n = strlen(before[i]);
        memcpy(body, before[i], n);
        memset(body + n, '[', JSON_MAX_DEPTH + 1);
        struct decoded d = decode(model, body, n + JSON_MAX_DEPTH + 1, MAX_ROWS);
        assert_false(d.ok);
        assert_int_equal(d.err.code, ERR_TOO_LARGE);
        assert_contains(d.err.message, "Unrecognized request format: byte ");
        decoded_free(&d);
    }
    model_free(model);
}

/* ---- what is of the wrong shape ---- */

#define WANTED "expected a JSON object with \"instances\" or \"inputs\""

static const struct {
    const char *body, *message;
} misshapen[] = {
    /* the body */
    {"", "Unrecognized request format: " WANTED ", got an empty body"},
    {"[[1,2]]", "body: " WANTED ", got a list"},
    {" null ", "body: " WANTED ", got null"},
    {"true", "body: " WANTED ", got true"},
    {"5", "body: " WANTED ", got a number"},
    {"\"instances\"", "body: " WANTED ", got a string"},
    {"{}", "body: " WANTED ", got one with neither"},
    {"{\"Instances\":[[1,2]],\"instances \":0}", "body: " WANTED ", got one with neither"},
    /* the list */
    {"{\"instances\":\"x\"}", "Expected \"instances\" to be a list"},
    {"{\"instances\":1e400}", "Expected \"instances\" to be a list"},
    {"{\"instances\":null}", "Expected \"instances\" to be a list"},
    {"{\"instances\":{\"a\":[1],\"b\":[2]}}", "Expected \"instances\" to be a list"},
    {"{\"inputs\":{\"a\":[1],\"b\":[2]}}", "Expected \"inputs\" to be a list"},
    {"{\"inputs\":[[1,2]],\"instances\":0}", "Expected \"instances\" to be a list"},
    {"{\"inputs\":0,\"instances\":[[1,2]]}", "Expected \"inputs\" to be a list"},
    {"{\"instances\":[[1,2]],\"instances\":0}", "Expected \"instances\" to be a list"},
    {"{\"instances\":[]}", "instances: expected at least one row, got an empty list"},
    {"{\"inputs\":[ ]}", "inputs: expected at least one row, got an empty list"},
    {"{\"instances\":[{\"a\":[],\"b\":[]}]}",
     "instances: expected at least one row, got an empty list"},
    {"{\"instances\":[1,2]}",
     "instances: expected a list of rows, got a list of numbers; wrap the row in another pair of "
     "brackets"},
    {"{\"inputs\":[1e400]}",
     "inputs: expected a list of rows, got a list of numbers; wrap the row in another pair of "
     "brackets"},
    /* the row */
    {"{\"instances\":[\"1\",\"2\"]}",
     "instances[0]: expected a list of numbers or an object, got a string"},
    {"{\"instances\":[null]}", "instances[0]: expected a list of numbers or an object, got null"},
    {"{\"instances\":[[1,2],3]}",
     "instances[1]: expected a list of numbers like the first row, got a number"},
    {"{\"instances\":[[1,2],{\"a\":1,\"b\":2}]}",
     "instances[1]: expected a list of numbers like the first row, got an object"},
    {"{\"instances\":[{\"a\":1,\"b\":2},false]}",
     "instances[1]: expected an object like the first row, got false"},
    {"{\"instances\":[{\"a\":1,\"b\":2},[1,2]]}",
     "instances[1][0]: expected an object like the first row, got a number"},
    {"{\"instances\":[[{\"a\":1,\"b\":2},[1,2]]]}",
     "instances[0][1]: expected an object like the first row, got a list"},
    {"{\"instances\":[[]]}", "instances[0]: expected 2 numbers, got 0"},
    {"{\"instances\":[[],[{\"a\":1,\"b\":2}]]}", "instances[0]: expected 2 numbers, got 0"},
    {"{\"instances\":[[1]]}", "instances[0]: expected 2 numbers, got 1"},
    {"{\"inputs\":[[1,2],[1,2],[1,2],[1,2,3]]}", "inputs[3]: expected 2 numbers, got 3"},
    {"{\"instances\":[[1,2,\"x\",[],1e400]]}", "instances[0]: expected 2 numbers, got 5"},
    /* the cell */
    {"{\"instances\":[[1,null]]}", "instances[0][1]: expected a number, got null"},
    {"{\"instances\":[[1,2],[[3],4]]}", "instances[1][0]: expected a number, got a list"},
    {"{\"instances\":[[[1,2]]]}", "instances[0][0]: expected a number, got a list"},
    {"{\"instances\":[[1,{}]]}", "instances[0][1]: expected a number, got an object"},
    {"{\"instances\":[[1,2],[{\"a\":1,\"b\":2}]]}",
     "instances[1][0]: expected a number, got an object"},
    {"{\"instances\":[[1,1e400]]}", "instances[0][1]: expected a finite number, got 1e400"},
    {"{\"instances\":[[-1.8e308,1]]}", "instances[0][0]: expected a finite number, got -1.8e308"},
    {"{\"instances\":[[1,\"1e400\"]]}", "instances[0][1]: expected a finite number, got \"1e400\""},
    {"{\"instances\":[[\"nan\",1]]}", "instances[0][0]: expected a number, got \"nan\""},
    {"{\"instances\":[[\"-inf\",1]]}", "instances[0][0]: expected a number, got \"-inf\""},
    {"{\"instances\":[[\"Infinity\",1]]}", "instances[0][0]: expected a number, got \"Infinity\""},
    {"{\"instances\":[[\"\",1]]}", "instances[0][0]: expected a number, got \"\""},
    {"{\"instances\":[[\"0x1p3\",1]]}", "instances[0][0]: expected a number, got \"0x1p3\""},
    {"{\"instances\":[[\"1 2\",1]]}", "instances[0][0]: expected a number, got \"1 2\""},
    {"{\"instances\":[[\"1\\u0000\",1]]}", "instances[0][0]: expected a number, got \"1\\u0000\""},
    {"{\"instances\":[[\"\\n\\\"\",1]]}", "instances[0][0]: expected a number, got \"\\n\\\"\""},
    /* by name */
    {"{\"instances\":[{}]}", "instances[0]: expected the feature \"a\", which is missing"},
    {"{\"instances\":[{\"a\":1,\"b\":2},{\"a\":1}]}",
     "instances[1]: expected the feature \"b\", which is missing"},
    {"{\"instances\":[[{\"b\":1}]]}",
     "instances[0][0]: expected the feature \"a\", which is missing"},
    {"{\"instances\":[{\"a\":1,\"b\":2,\"foo\":3}]}",
     "instances[0]: expected a feature of the model, got \"foo\""},
    {"{\"instances\":[{\"aa\":1}]}", "instances[0]: expected a feature of the model, got \"aa\""},
    {"{\"instances\":[{\"A\":1}]}", "instances[0]: expected a feature of the model, got \"A\""},
    {"{\"instances\":[{\"\":1}]}", "instances[0]: expected a feature of the model, got \"\""},
    {"{\"instances\":[{\"a\\u0000\":1}]}",
     "instances[0]: expected a feature of the model, got \"a\\u0000\""},
    {"{\"instances\":[{\"a\":null,\"b\":2}]}", "instances[0].a: expected a number, got null"},
    {"{\"instances\":[{\"a\":1,\"b\":1e999}]}",
     "instances[0].b: expected a finite number, got 1e999"},
    {"{\"instances\":[[{\"a\":1,\"b\":2},{\"a\":1,\"b\":\"x\"}]]}",
     "instances[0][1].b: expected a number, got \"x\""},
    {"{\"instances\":[[{\"a\":[1],\"b\":[2]}]]}",
     "instances[0][0].a: expected a number, got a list"},
    /* lists by name */
    {"{\"instances\":[{\"a\":[1,null],\"b\":[1,2]}]}",
     "instances[0].a[1]: expected a number, got null"},
    {"{\"instances\":[{\"a\":[1],\"b\":[[2]]}]}",
     "instances[0].b[0]: expected a number, got a list"},
    {"{\"instances\":[{\"a\":[1],\"b\":2}]}",
     "instances[0].b: expected a list as for a, got a number"},
    {"{\"instances\":[{\"a\":1,\"b\":[2]}]}", "instances[0].b: expected a number, got a list"},
    {"{\"instances\":[{\"a\":[1,2],\"b\":[1,2]},{\"b\":[1],\"a\":[1,2]}]}",
     "instances[1].b: expected a list of 2 as for a, got one of 1"},
    {"{\"instances\":[{\"a\":[],\"b\":[1]}]}",
     "instances[0].b: expected a list of 0 as for a, got one of 1"},
};

static void decode_names_the_place_and_what_was_expected(void **state)
{
    (void)state;
    struct model *model = make_plane();
    for (size_t i = 0; i < sizeof misshapen / sizeof *misshapen; i++)
        assert_refused(model, misshapen[i].body, ERR_INVALID, misshapen[i].message);
    model_free(model);
}

/* ---- parameters ---- */

static const struct {
    const char *parameters;
    double score; /* 0: no interval */
} intervals[] = {
    {"null", 0},
    {"{}", 0},
    {"{\"x\":[null,{\"interval\":7}],\"Interval\":\"\"}", 0},
    {"{\"interval\":0.5}", 2},
    {"{ \"x\" : 1 , \"interval\" : 7.5E-1 }", 3},
    {"{\"interval\":1e-300}", 1},
    {"{\"\\u0069nterval\":0.5}", 2},
    {"{\"interval\":null,\"interval\":0.25}", 1},
    {"[\"interval\"],\"parameters\":{\"interval\":0.5}", 2},
    {"{\"interval\":0.5},\"parameters\":{}", 0},
};

static void decode_reads_the_interval_wherever_parameters_stand(void **state)
{
    (void)state;
    static const char *const bodies[][2] = {
        {"{\"parameters\":", ",\"instances\":[[1,2]]}"},
        {"{\"instances\":[[1,2]],\"parameters\":", "}"},
        {"{\"inputs\":[[\"1\",2]],\"p\\u0061rameters\":", "}"},
    };
    struct model *model = make_plane();
    char body[256];
    for (size_t i = 0; i < sizeof intervals / sizeof *intervals; i++)
        for (size_t j = 0; j < 3; j++) {
            int n = snprintf(body, sizeof body, "%s%s%s", bodies[j][0], intervals[i].parameters,
                             bodies[j][1]);
            struct decoded d = decode(model, body, (size_t)n, MAX_ROWS);
            if (!d.ok)
                fail_msg("%s\n%s", body, d.err.message);
            assert_int_equal(d.request.interval, intervals[i].score > 0);
            if (d.request.interval)
                assert_close(d.request.interval_score, intervals[i].score, 0);
            decoded_free(&d);
        }
    model_free(model);
}

#define RANGE "parameters.interval: expected a number above 0 and at most 3/4 (0.75), got "

static void decode_names_what_is_wrong_with_parameters(void **state)
{
    (void)state;
    static const struct {
        const char *parameters, *message;
    } cases[] = {
        {"5", "parameters: expected an object, got a number"},
        {"[]", "parameters: expected an object, got a list"},
        {"\"interval\"", "parameters: expected an object, got a string"},
        {"{\"interval\":null}", "parameters.interval: expected a number, got null"},
        {"{\"interval\":\"0.5\"}", "parameters.interval: expected a number, got a string"},
        {"{\"interval\":true}", "parameters.interval: expected a number, got true"},
        {"{\"interval\":[0.5]}", "parameters.interval: expected a number, got a list"},
        {"{\"interval\":0.5,\"interval\":{}}",
         "parameters.interval: expected a number, got an object"},
        {"{\"interval\":1e400}", "parameters.interval: expected a finite number, got 1e400"},
        {"{\"interval\":0}", RANGE "0"},
        {"{\"interval\":-0.5}", RANGE "-0.5"},
        {"{\"interval\":0.76}", RANGE "0.76"},
        {"{\"interval\":1}", RANGE "1"},
        {"{\"interval\":90}", RANGE "90"},
        {"{\"interval\":1e308}", RANGE "1e+308"},
    };
    struct model *model = make_plane();
    char body[256];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        (void)snprintf(body, sizeof body, "{\"instances\":[[1,2]],\"parameters\":%s}",
                       cases[i].parameters);
        assert_refused(model, body, ERR_INVALID, cases[i].message);
    }
    /* Rows come first. */
    assert_refused(model, "{\"parameters\":5,\"instances\":[[1]]}", ERR_INVALID,
                   "instances[0]: expected 2 numbers, got 1");
    model_free(model);
}

static void decode_says_when_the_model_gives_no_intervals(void **state)
{
    (void)state;
    struct model *model = plane_model_bare();
    assert_refused(model, "{\"instances\":[[1,2]],\"parameters\":{\"interval\":0.9}}",
                   ERR_UNSUPPORTED,
                   "parameters.interval: expected a model that gives intervals, got one that does "
                   "not");
    assert_rows(model, "{\"instances\":[[1,2]],\"parameters\":{\"x\":0.9}}", 1,
                (const double[]){1, 2});
    model_free(model);
}

static void decode_words_the_width_of_one_in_the_singular(void **state)
{
    (void)state;
    struct model *model = make_wide_model(1);
    assert_refused(model, "{\"instances\":[[1,2]]}", ERR_INVALID,
                   "instances[0]: expected 1 number, got 2");
    model_free(model);
}

/* ---- quoting ---- */

#define TEN  "0123456789"
#define UML  "\xc3\xa4"
#define LOCK "\xf0\x9f\x94\x92"

static void messages_cut_what_they_quote_at_a_character(void **state)
{
    (void)state;
    struct model *model = make_plane();
    assert_refused(model, "{\"instances\":[[\"x" TEN TEN TEN "012345678\",0]]}", ERR_INVALID,
                   "instances[0][0]: expected a number, got \"x" TEN TEN TEN "012345678\"");
    assert_refused(model, "{\"instances\":[[\"x" TEN TEN TEN TEN "\",0]]}", ERR_INVALID,
                   "instances[0][0]: expected a number, got \"x" TEN TEN TEN "012345678...\"");
    assert_refused(model, "{\"instances\":[[\"x" TEN TEN TEN "01234567" UML "\",0]]}", ERR_INVALID,
                   "instances[0][0]: expected a number, got \"x" TEN TEN TEN "01234567...\"");
    assert_refused(model, "{\"instances\":[{\"" TEN TEN TEN "0123456" LOCK "\":0}]}", ERR_INVALID,
                   "instances[0]: expected a feature of the model, got \"" TEN TEN TEN
                   "0123456...\"");
    assert_refused(model, "{\"instances\":[[9" TEN TEN TEN TEN "e300,0]]}", ERR_INVALID,
                   "instances[0][0]: expected a finite number, got 9" TEN TEN TEN "012345678...");
    model_free(model);
}

static void messages_show_control_characters_as_escapes(void **state)
{
    (void)state;
    struct model *model = make_plane();
    assert_refused(
        model, "{\"instances\":[[\"\x7f\xc2\x9b\xc2\xa0" UML "\\u001b\",0]]}", ERR_INVALID,
        "instances[0][0]: expected a number, got \"\\u007f\\u009b\xc2\xa0" UML "\\u001b\"");
    model_free(model);
}

static void messages_survive_the_longest_feature_names(void **state)
{
    (void)state;
    char a[MODEL_TEXT_MAX + 1], b[MODEL_TEXT_MAX + 1], body[1024];
    const char *const names[] = {a, b};
    memset(a, 'a', MODEL_TEXT_MAX);
    memset(b, 'a', MODEL_TEXT_MAX);
    a[MODEL_TEXT_MAX] = b[MODEL_TEXT_MAX] = '\0';
    b[MODEL_TEXT_MAX - 1] = 'b';
    struct model *model = make_model(names, 2);
    (void)snprintf(body, sizeof body, "{\"instances\":[{\"%s\":1,\"%s\":[]}]}", b, a);
    assert_refused(model, body, ERR_INVALID,
                   "instances[0].aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...: "
                   "expected a list as for aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa..., "
                   "got a number");
    (void)snprintf(body, sizeof body, "{\"instances\":[{\"%s\":4,\"%s\":3}]}", b, a);
    assert_rows(model, body, 1, (const double[]){3, 4});
    model_free(model);
}

/* ---- all forms of the same rows ---- */

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Any finite double, zeros and whole numbers more often than their share. */
static double random_number(uint64_t *state)
{
    uint64_t bits = next_random(state);
    double value;
    switch (next_random(state) % 4) {
    case 0:
        return (double)(int64_t)(bits % 2001) - 1000;
    case 1:
        return (double)bits / 1e19;
    default:
        memcpy(&value, &bits, sizeof value);
        return isfinite(value) ? value : -0.0;
    }
}

static void put_number(FILE *out, double value, bool quoted)
{
    char text[NUMBER_TEXT_MAX];
    size_t n = number_write(text, value);
    (void)fprintf(out, quoted ? "\"%.*s\"" : "%.*s", (int)n, text);
}

enum writing { AS_LISTS, AS_STRINGS, AS_DICTS, AS_LISTED, AS_INNER_DICTS, WRITINGS };

struct matrix {
    size_t rows, cols;
    double x[40 * 9];
    size_t order[9]; /* of the names in dicts */
};

static void put_list_rows(FILE *out, const struct matrix *m, bool quoted)
{
    for (size_t i = 0; i < m->rows; i++)
        for (size_t j = 0; j < m->cols; j++) {
            (void)fputs(j > 0 ? "," : i > 0 ? ",[" : "[", out);
            put_number(out, m->x[i * m->cols + j], quoted);
            (void)fputs(j + 1 < m->cols ? "" : "]", out);
        }
}

static void put_dicts(FILE *out, const struct matrix *m)
{
    for (size_t i = 0; i < m->rows; i++)
        for (size_t j = 0; j < m->cols; j++) {
            (void)fputs(j > 0 ? "," : i > 0 ? ",{" : "{", out);
            (void)fprintf(out, "\"f%zu\":", m->order[j]);
            put_number(out, m->x[i * m->cols + m->order[j]], i % 3 == 0);
            (void)fputs(j + 1 < m->cols ? "" : "}", out);
        }
}

static void put_listed(FILE *out, const struct matrix *m)
{
    for (size_t j = 0; j < m->cols; j++)
        for (size_t i = 0; i < m->rows; i++) {
            if (i == 0)
                (void)fprintf(out, "%s\"f%zu\":[", j > 0 ? "," : "{", m->order[j]);
            (void)fputs(i > 0 ? "," : "", out);
            put_number(out, m->x[i * m->cols + m->order[j]], false);
            (void)fputs(i + 1 < m->rows ? "" : "]", out);
        }
    (void)fputs("}", out);
}

/* A body in one of the writings; the caller frees it. */
static char *write_body(const struct matrix *m, enum writing writing, const char *key, size_t *n)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, n);
    (void)fprintf(out, "{\"%s\":[%s", key, writing == AS_INNER_DICTS ? "[" : "");
    if (writing == AS_LISTS || writing == AS_STRINGS)
        put_list_rows(out, m, writing == AS_STRINGS);
    else if (writing == AS_LISTED)
        put_listed(out, m);
    else
        put_dicts(out, m);
    (void)fprintf(out, "%s]}", writing == AS_INNER_DICTS ? "]" : "");
    (void)fclose(out);
    return text;
}

static void assert_decodes_to(const struct model *model, const struct matrix *m,
                              enum writing writing, const char *key)
{
    size_t n;
    char *body = write_body(m, writing, key, &n);
    struct decoded d = decode(model, body, n, m->rows);
    if (!d.ok)
        fail_msg("%s\n%s", body, d.err.message);
    assert_int_equal(d.request.rows, m->rows);
    assert_memory_equal(d.request.x, m->x, m->rows * m->cols * sizeof *m->x);
    decoded_free(&d);
    free(body);
}

static void all_forms_of_the_same_rows_give_the_same_bits(void **state)
{
    (void)state;
    uint64_t random = 0x9e3779b97f4a7c15u;
    struct matrix m;
    for (int round = 0; round < 60; round++) {
        m.rows = 1 + next_random(&random) % 40;
        m.cols = 1 + next_random(&random) % 9;
        for (size_t i = 0; i < m.rows * m.cols; i++)
            m.x[i] = random_number(&random);
        for (size_t j = 0; j < m.cols; j++)
            m.order[j] = j;
        for (size_t j = m.cols - 1; j > 0; j--) {
            size_t k = next_random(&random) % (j + 1), swapped = m.order[j];
            m.order[j] = m.order[k];
            m.order[k] = swapped;
        }
        struct model *model = make_wide_model(m.cols);
        for (int writing = 0; writing < WRITINGS; writing++) {
            assert_decodes_to(model, &m, (enum writing)writing, "instances");
            assert_decodes_to(model, &m, (enum writing)writing, "inp\\u0075ts");
        }
        model_free(model);
    }
}

static void names_are_found_in_any_order_at_the_greatest_width(void **state)
{
    (void)state;
    struct model *model = make_wide_model(MODEL_FEATURES_MAX);
    char *body = NULL;
    size_t n;
    FILE *out = open_memstream(&body, &n);
    (void)fputs("{\"instances\":[", out);
    for (size_t i = 0; i < 2; i++)
        for (size_t k = 0; k < MODEL_FEATURES_MAX; k++) {
            size_t j = (k * 2731 + i) % MODEL_FEATURES_MAX; /* odd: every one comes up */
            (void)fprintf(out, "%s\"f%zu\":%zu", k > 0 ? "," : i > 0 ? "},{" : "{", j, j + i);
        }
    (void)fputs("}]}", out);
    (void)fclose(out);
    struct decoded d = decode(model, body, n, 2);
    assert_true(d.ok);
    assert_int_equal(d.request.rows, 2);
    for (size_t j = 0; j < MODEL_FEATURES_MAX; j++) {
        assert_close(d.request.x[j], (double)j, 0);
        assert_close(d.request.x[MODEL_FEATURES_MAX + j], (double)(j + 1), 0);
    }
    decoded_free(&d);
    free(body);
    model_free(model);
}

static void names_that_begin_alike_are_told_apart(void **state)
{
    (void)state;
    static const char *const names[] = {"ab", "a", "abc", "b\"", "\xc3\xa4"};
    struct model *model = make_model(names, 5);
    assert_rows(model, "{\"instances\":[{\"\\u00e4\":5,\"b\\\"\":4,\"abc\":3,\"ab\":1,\"a\":2}]}",
                1, (const double[]){1, 2, 3, 4, 5});
    assert_refused(model, "{\"instances\":[{\"abcd\":1}]}", ERR_INVALID,
                   "instances[0]: expected a feature of the model, got \"abcd\"");
    model_free(model);
}

/* ---- limits ---- */

static void decode_takes_max_rows_and_not_one_more(void **state)
{
    (void)state;
    uint64_t random = 7;
    struct model *model = make_wide_model(2);
    struct matrix m = {.rows = 3, .cols = 2, .order = {1, 0}};
    for (size_t i = 0; i < 6; i++)
        m.x[i] = random_number(&random);
    for (int writing = 0; writing < WRITINGS; writing++) {
        size_t n;
        char *body = write_body(&m, (enum writing)writing, "instances", &n);
        struct decoded d = decode(model, body, n, 3);
        assert_true(d.ok);
        decoded_free(&d);
        d = decode(model, body, n, 2);
        assert_false(d.ok);
        assert_int_equal(d.err.code, ERR_TOO_LARGE);
        assert_string_equal(d.err.message, "instances: expected at most 2 rows, got more");
        decoded_free(&d);
        free(body);
    }
    model_free(model);
}

/* What is not asked for may have any number of rows. */
static void max_rows_counts_only_what_wins(void **state)
{
    (void)state;
    struct model *model = make_plane();
    const char body[] = "{\"instances\":[[1,2],[3,4]],\"inputs\":[[5,6]]}";
    struct decoded d = decode(model, body, sizeof body - 1, 1);
    assert_true(d.ok);
    assert_int_equal(d.request.rows, 1);
    assert_close(d.request.x[0], 5.0, 0);
    decoded_free(&d);
    model_free(model);
}

/* A body of `times` copies of part between two texts; the caller frees it. */
static char *repeat(const char *before, const char *part, size_t times, const char *after,
                    size_t *n)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, n);
    (void)fputs(before, out);
    for (size_t i = 0; i < times; i++)
        (void)fputs(part, out);
    (void)fputs(after, out);
    (void)fclose(out);
    return text;
}

static void assert_memory_follows_the_body(const struct model *model, char *body, size_t n,
                                           bool accepted)
{
    struct decoded d = decode(model, body, n, SIZE_MAX);
    assert_int_equal(d.ok, accepted);
    if (arena_held(d.arena) > 16 * n + 64 * model_feature_count(model))
        fail_msg("%zu bytes held for a body of %zu", arena_held(d.arena), n);
    decoded_free(&d);
    free(body);
}

static void memory_is_bounded_by_the_length_of_the_body(void **state)
{
    (void)state;
    struct model *plane = make_plane(), *wide = make_wide_model(MODEL_FEATURES_MAX);
    size_t n;
    char *body = repeat("{\"x\":0", ",\"instances\":[[1,2]]", 20000, "}", &n);
    assert_memory_follows_the_body(plane, body, n, true);
    body = repeat("{\"x\":0", ",\"inst\\u0061nces\":[[1,2]]", 20000, "}", &n);
    assert_memory_follows_the_body(plane, body, n, true);
    body = repeat("{\"instances\":[[\"1\",1]", ",[1,1]", 50000, "]}", &n);
    assert_memory_follows_the_body(plane, body, n, true);
    body = repeat("{\"instances\":[[\"1\",1]", ",[\"1\",\"\\u0031\"]", 50000, "]}", &n);
    assert_memory_follows_the_body(plane, body, n, true);
    body = repeat("{\"instances\":[{\"f0\":[1", ",1", 200000, "]}]}", &n);
    assert_memory_follows_the_body(wide, body, n, false);
    body = repeat("{\"instances\":[[0", ",0", 4095, "],[]]}", &n);
    assert_memory_follows_the_body(wide, body, n, false);
    model_free(wide);
    model_free(plane);
}

static void decode_says_when_memory_runs_out(void **state)
{
    (void)state;
    struct model *model = make_plane();
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        const struct span body = {forms[i].body, strlen(forms[i].body)};
        bool ok = false;
        for (size_t limit = 16; !ok; limit += 16) {
            struct v1_request request;
            struct error err = {0};
            struct arena *arena = arena_new(16, limit);
            ok = v1_decode(body, model, MAX_ROWS, arena, &request, &err);
            if (!ok)
                assert_int_equal(err.code, ERR_NO_MEMORY);
            arena_free(arena);
            assert_true(limit < 4096);
        }
    }
    model_free(model);
}

/* ---- the answer ---- */

static void assert_encodes(const double *y, size_t rows, const char *text)
{
    struct arena *arena = arena_new(64, 0);
    struct error err = {ERR_NONE, "untouched"};
    struct span out;
    assert_true(v1_encode(y, NULL, rows, arena, &out, &err));
    assert_int_equal(out.n, strlen(text));
    assert_memory_equal(out.p, text, out.n);
    assert_string_equal(err.message, "untouched");
    arena_free(arena);
}

static void encode_writes_compact_json_that_reads_back(void **state)
{
    (void)state;
    assert_encodes((const double[]){4.5}, 1, "{\"predictions\":[4.5]}");
    assert_encodes((const double[]){1, -0.0, 0.1, 1e300, 5e-324}, 5,
                   "{\"predictions\":[1.0,-0.0,0.1,1e+300,5e-324]}");
}

static void encode_takes_ten_thousand_rows_in_one_go(void **state)
{
    (void)state;
    enum { ROWS = 10000 };
    uint64_t random = 42;
    double *y = calloc(ROWS, sizeof *y);
    struct arena *arena = arena_new(256, 0);
    struct error err = {0};
    struct span out;
    for (size_t i = 0; i < ROWS; i++)
        y[i] = random_number(&random);
    assert_true(v1_encode(y, NULL, ROWS, arena, &out, &err));
    cJSON *tree = json_tree(out, &err);
    const cJSON *list = json_member(tree, "predictions"), *number = list->child;
    assert_int_equal(cJSON_GetArraySize(list), ROWS);
    for (size_t i = 0; i < ROWS; i++, number = number->next)
        assert_close(number->valuedouble, y[i], 0);
    cJSON_Delete(tree);
    arena_free(arena);
    free(y);
}

static void encode_names_the_row_whose_prediction_is_not_finite(void **state)
{
    (void)state;
    static const double bad[] = {INFINITY, -INFINITY, NAN};
    struct arena *arena = arena_new(64, 0);
    for (size_t i = 0; i < 3; i++) {
        struct error err = {0};
        struct span out;
        assert_false(v1_encode((const double[]){1, 2, bad[i], NAN}, NULL, 4, arena, &out, &err));
        assert_int_equal(err.code, ERR_INVALID);
        assert_string_equal(err.message,
                            "row 2: expected a finite prediction, got one that overflows");
    }
    arena_free(arena);
}

static void encode_says_when_memory_runs_out(void **state)
{
    (void)state;
    struct arena *arena = arena_new(16, 32);
    struct error err = {0};
    struct span out;
    assert_false(v1_encode((const double[]){1, 2, 3, 4}, NULL, 4, arena, &out, &err));
    assert_int_equal(err.code, ERR_NO_MEMORY);
    arena_free(arena);
}

static void encode_puts_intervals_beside_the_predictions(void **state)
{
    (void)state;
    struct arena *arena = arena_new(64, 0);
    struct error err = {0};
    struct span out;
    static const char text[] =
        "{\"predictions\":[4.5,-1.0],\"intervals\":[[4.25,4.75],[-3.0,1.0]]}";
    const double y[] = {4.5, -1}, half[] = {0.25, 2};
    assert_true(v1_encode(y, half, 2, arena, &out, &err));
    assert_int_equal(out.n, sizeof text - 1);
    assert_memory_equal(out.p, text, out.n);
    arena_free(arena);
}

static void encode_names_the_row_whose_interval_is_not_finite(void **state)
{
    (void)state;
    static const double bad[] = {INFINITY, NAN, 1.7e308};
    struct arena *arena = arena_new(64, 0);
    for (size_t i = 0; i < 3; i++) {
        struct error err = {0};
        struct span out;
        const double y[] = {1, 1e308, 3}, half[] = {1, bad[i], INFINITY};
        assert_false(v1_encode(y, half, 3, arena, &out, &err));
        assert_int_equal(err.code, ERR_INVALID);
        assert_string_equal(err.message,
                            "row 1: expected a finite interval, got one that overflows");
    }
    arena_free(arena);
}

/* ---- explanations ---- */

struct explaining {
    struct model *model;
    struct explainer *explainer;
    struct arena *arena;
};

static struct explaining start_explaining(void)
{
    struct error err = {0};
    struct explaining e = {plane_model("1", 1), NULL, arena_new(64, 0)};
    e.explainer = explainer_new(e.model, &err);
    assert_non_null(e.explainer);
    return e;
}

static void stop_explaining(struct explaining *e)
{
    explainer_free(e->explainer);
    model_free(e->model);
    arena_free(e->arena);
}

static void explanations_name_every_attribution(void **state)
{
    (void)state;
    struct explaining e = start_explaining();
    struct error err = {ERR_NONE, "untouched"};
    struct span out;
    static const char text[] =
        "{\"explanations\":["
        "{\"base\":1.0,\"prediction\":9.0,\"attributions\":{\"a\":2.0,\"b\":6.0}},"
        "{\"base\":1.0,\"prediction\":0.5,\"attributions\":{\"a\":-0.5,\"b\":0.0}}]}";
    const double y[] = {9, 0.5}, attributions[] = {2, 6, -0.5, 0};
    assert_true(v1_encode_explanations(e.explainer, y, attributions, 2, e.arena, &out, &err));
    assert_int_equal(out.n, sizeof text - 1);
    assert_memory_equal(out.p, text, out.n);
    assert_string_equal(err.message, "untouched");
    stop_explaining(&e);
}

static void explanations_name_the_row_that_is_not_finite(void **state)
{
    (void)state;
    struct explaining e = start_explaining();
    struct error err = {0};
    struct span out;
    const double y[] = {1, NAN}, attributions[] = {2, 6, -INFINITY, 0};
    assert_false(v1_encode_explanations(e.explainer, y, attributions, 2, e.arena, &out, &err));
    assert_string_equal(err.message, "row 1: expected a finite prediction, got one that overflows");
    const double finite[] = {1, 2};
    assert_false(v1_encode_explanations(e.explainer, finite, attributions, 2, e.arena, &out, &err));
    assert_int_equal(err.code, ERR_INVALID);
    assert_string_equal(err.message,
                        "row 1: expected a finite attribution, got one that overflows");
    stop_explaining(&e);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(decode_accepts_every_form),
    cmocka_unit_test(decode_gives_the_same_bits_on_the_slow_path),
    cmocka_unit_test(decode_refuses_what_is_not_json_in_kserves_words),
    cmocka_unit_test(decode_refuses_every_body_that_is_cut_short),
    cmocka_unit_test(decode_refuses_nesting_beyond_the_limit),
    cmocka_unit_test(decode_names_the_place_and_what_was_expected),
    cmocka_unit_test(decode_reads_the_interval_wherever_parameters_stand),
    cmocka_unit_test(decode_names_what_is_wrong_with_parameters),
    cmocka_unit_test(decode_says_when_the_model_gives_no_intervals),
    cmocka_unit_test(decode_words_the_width_of_one_in_the_singular),
    cmocka_unit_test(messages_cut_what_they_quote_at_a_character),
    cmocka_unit_test(messages_show_control_characters_as_escapes),
    cmocka_unit_test(messages_survive_the_longest_feature_names),
    cmocka_unit_test(all_forms_of_the_same_rows_give_the_same_bits),
    cmocka_unit_test(names_are_found_in_any_order_at_the_greatest_width),
    cmocka_unit_test(names_that_begin_alike_are_told_apart),
    cmocka_unit_test(decode_takes_max_rows_and_not_one_more),
    cmocka_unit_test(max_rows_counts_only_what_wins),
    cmocka_unit_test(memory_is_bounded_by_the_length_of_the_body),
    cmocka_unit_test(decode_says_when_memory_runs_out),
    cmocka_unit_test(encode_writes_compact_json_that_reads_back),
    cmocka_unit_test(encode_takes_ten_thousand_rows_in_one_go),
    cmocka_unit_test(encode_names_the_row_whose_prediction_is_not_finite),
    cmocka_unit_test(encode_says_when_memory_runs_out),
    cmocka_unit_test(encode_puts_intervals_beside_the_predictions),
    cmocka_unit_test(encode_names_the_row_whose_interval_is_not_finite),
    cmocka_unit_test(explanations_name_every_attribution),
    cmocka_unit_test(explanations_name_the_row_that_is_not_finite),
};

T_MAIN(tests)
